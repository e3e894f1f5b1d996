"""Modes and analyses on the ranks that run this, gathered into one file: KIND FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import make_problem

from da.analysis import analyse
from da.minimisation.tao import METHODS

comm = MPI.COMM_WORLD
kind, path = sys.argv[1:]
kept = {}
for name, shares in (("even", None), ("uneven", [5, 0, 1] if comm.size == 3 else [5, 1])):
    problem = make_problem(comm, kind, 10, shares)
    kept[f"modes_{name}"] = np.concatenate(comm.allgather(problem.transform.modes.vectors))
    for method in METHODS:
        found = analyse(*problem.arguments, comm, method=method)
        kept[f"control_{name}_{method}"] = found.control
        kept[f"increment_{name}_{method}"] = np.concatenate(comm.allgather(found.increment))
        kept[f"told_{name}_{method}"] = np.array(
            [found.chi_squared, found.residual.mean, found.residual.std, found.innovation.rms, found.trace[-1].cost]
        )
        assert all(np.array_equal(found.control, other) for other in comm.allgather(found.control))
if comm.rank == 0:
    np.savez(path, **kept)
