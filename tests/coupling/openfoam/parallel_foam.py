"""Reads a case cut in two, changes wind and tracer, and writes it: CASE FOLDER."""

import sys

import numpy as np
from mpi4py import MPI

from coupling.openfoam.checkpoint import open_restart, read_fields, write_restart

start = open_restart(sys.argv[1])
state = read_fields(start, MPI.COMM_WORLD, ["U", "T"])
factor = 1.0 + 0.1 * np.sin(state["U"].mesh.centroids[:, 0] / 20.0)
changes = {
    "U": state["U"].replaced(factor[:, None] * state["U"].values),
    "T": state["T"].replaced(factor * state["T"].values),
}
write_restart(start, sys.argv[2], MPI.COMM_WORLD, changes)
