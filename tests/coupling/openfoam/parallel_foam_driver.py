"""Run by test_openfoam_failures on several ranks: a forecast, whose values rank 0 keeps, and one that fails.

words: case, processes, a program that fails, folder
"""

import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.openfoam.checkpoint import open_restart
from coupling.openfoam.driver import OpenFoamModel
from coupling.simulation.launch import ModelError

comm = MPI.COMM_WORLD
case, processes, broken, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
start = open_restart(case)
forecast = OpenFoamModel(processes=processes, timeout=60).run(start, 2.5, folder / "run", comm)
# pieces are shared out in their order, so the ranks' parts make up the whole
parts = comm.gather({name: field.values for name, field in forecast.state.fields.items()})
times = comm.gather(forecast.state.time)
if comm.rank == 0:
    np.savez(folder / "kept", Time=times, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
try:
    OpenFoamModel((broken,), processes, timeout=60).run(start, 2.5, folder / "broken-run", comm)
except ModelError as error:
    (folder / f"error-{comm.rank}").write_text(str(error))
