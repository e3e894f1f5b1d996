"""Run by test_vtu on two ranks: the pieces are divided among the ranks and equal those on one rank."""

import sys

import numpy as np
from mpi4py import MPI
from places import DATA

from coupling.common.files import FileError
from coupling.vtk.vtu import read_state

COMM = MPI.COMM_WORLD

alone = read_state(DATA / "parallel/mini_3.pvtu", MPI.COMM_SELF)
shared = read_state(DATA / "parallel/mini_3.pvtu", COMM)
assert len(shared["Tracer"].mesh.pieces) == 1
assert shared["Tracer"].mesh.fingerprint == alone["Tracer"].mesh.fingerprint
for name, field in alone.fields.items():
    np.testing.assert_array_equal(np.concatenate(COMM.allgather(shared[name].values)), field.values)
serial = read_state(DATA / "serial/mini_3.vtu", COMM)  # one piece: the second rank holds nothing
assert serial["Velocity"].values.shape == ((24572, 3) if COMM.rank == 0 else (0, 3))
try:
    read_state(DATA / "parallel/mini_3.pvtu", COMM, ["Nothing"])
    raise AssertionError("a missing field was not noticed")
except FileError as error:
    assert "Nothing" in str(error)
if COMM.rank == 0:
    sys.stdout.write("same\n")
