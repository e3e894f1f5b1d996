"""What every analysis of an ensemble gives on the ranks that run this: FILE."""

import sys

import numpy as np
from ensemble_problem import make_ensemble
from every_ensemble import METHODS
from mpi4py import MPI

comm = MPI.COMM_WORLD
results = {}
for name, method in METHODS.items():
    problem = make_ensemble(comm, n_readings=12)
    update = method(problem, problem.readings, comm)
    results[f"{name}: state"] = np.concatenate(comm.allgather(update.state(problem.ensemble.state)))
    parameters = update.parameters(problem.ensemble.parameters)
    assert all(np.array_equal(parameters, other) for other in comm.allgather(parameters)), name
    results[f"{name}: parameters"] = parameters
    figures = update.summary()
    assert all(figures == other for other in comm.allgather(figures)), name
    results[f"{name}: summary"] = np.array([v for v in figures.values() if isinstance(v, int | float)], dtype=float)
if comm.rank == 0:
    np.savez(sys.argv[1], **results)
