"""Points of a mesh on some ranks: their coordinates, in their order, gathered into a file."""

import sys

import numpy as np
from mpi4py import MPI

from coupling.geometry.interpolation import multiply
from coupling.geometry.points import mesh_points
from coupling.vtk.vtu import read_state

comm = MPI.COMM_WORLD
of = read_state(sys.argv[1], comm, ["Tracer"], time=0.0)["Tracer"]
between = mesh_points(of.mesh, comm).interpolation(of)
there = multiply(between.to_grid, of.mesh.points)
assert np.array_equal(multiply(between.to_mesh, there), of.mesh.points)
whole = comm.gather(there)
if comm.rank == 0:
    np.save(sys.argv[2], np.concatenate(whole))
