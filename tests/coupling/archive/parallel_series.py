"""Run by test_series on three ranks: dumps read together, and written together, are those of one rank."""

import sys
import tempfile
from pathlib import Path

import numpy as np
from contents import SELF, content
from mpi4py import MPI
from places import DATA

from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.vtk.dumps import write_dump

COMM = MPI.COMM_WORLD

scratch = tempfile.TemporaryDirectory() if COMM.rank == 0 else None
folder = Path(COMM.bcast(scratch.name if scratch else None))
for run in ("serial", "parallel", "adaptive"):
    shared, alone = open_series(DATA / run, COMM), open_series(DATA / run, SELF)
    assert shared.field_names == alone.field_names and shared.times.tolist() == alone.times.tolist()
    for step in range(len(alone)):
        ours, whole = shared.read(step), alone.read(step)
        for name, field in whole.fields.items():
            assert ours[name].mesh.fingerprint == field.mesh.fingerprint
            np.testing.assert_array_equal(np.concatenate(COMM.allgather(ours[name].values)), field.values)
        path = write_dump(ours, folder / f"{run}_{step}", COMM)
        COMM.Barrier()
        assert content(open_series(path, SELF).read(0)) == content(whole)
for wrong in (folder / "none", DATA / "serial/mini.flml", DATA / "parallel/mini_*_checkpoint.pvtu"):
    try:
        open_series(wrong, COMM)
        raise AssertionError(f"{wrong} was read")
    except FileError as error:
        assert wrong.name in str(error)
COMM.Barrier()
if scratch is not None:
    scratch.cleanup()
    sys.stdout.write("same\n")
