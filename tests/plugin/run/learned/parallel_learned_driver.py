"""Run by test_learned_driver on several ranks: each forecast is the one that a single rank makes.

words: folder of network and dynamics, the start, a folder for the forecasts
"""

import sys
from pathlib import Path

import numpy as np
from learned_case import STEP, model_of
from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart, read_fields

comm = MPI.COMM_WORLD
made, start, folder = map(Path, sys.argv[1:])
model, until = model_of(made, rest=0.9), open_restart(start).time + 2 * STEP
together = model.run(open_restart(start), until, folder / "together", comm)
if comm.rank == 0:
    alone = model.run(open_restart(start), until, folder / "alone", MPI.COMM_SELF)
    found = read_fields(together.restart, MPI.COMM_SELF)
    for name, of in alone.state.fields.items():
        np.testing.assert_allclose(found[name].values, of.values, rtol=0, atol=1e-10 * np.abs(of.values).max())
comm.Barrier()
