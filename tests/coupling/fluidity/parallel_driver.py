"""Run by test_forecast on several ranks: a forecast; rank 0 keeps its values, every rank the error it met.

words: driver, processes, options, until, folder, file for the values
"""

import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import FluidityModel, embedded_model
from coupling.simulation.launch import ModelError

comm = MPI.COMM_WORLD
driver, processes, options, until, folder, results = sys.argv[1:]
make = {"embedded": embedded_model, "fluidity": FluidityModel}[driver]
try:
    forecast = make(processes=int(processes), timeout=60).run(open_restart(options), float(until), Path(folder), comm)
except ModelError as error:
    Path(f"{results}.error-{comm.rank}").write_text(str(error))
else:
    # pieces are shared out in their order, so the ranks' parts make up the whole
    parts = comm.gather({name: field.values for name, field in forecast.state.fields.items()})
    times = comm.gather(forecast.state.time)
    if comm.rank == 0:
        np.savez(results, Time=times, **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
