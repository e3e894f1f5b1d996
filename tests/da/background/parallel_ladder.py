"""Analyses with a taper of several lengths on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import N, make_problem, places

from da.analysis import analyse
from da.background.localisation import Ladder, Taper, localised_transform

comm = MPI.COMM_WORLD
kept = {}
for name, shares in (("even", None), ("uneven", [5, 0, 1] if comm.size == 3 else [5, 1])):
    problem = make_problem(comm, "tsvd", 10, shares)
    position, variable = (of[problem.rows] for of in places(np.arange(N)))
    ladder = Ladder(np.array([np.inf, 3.0, 1.0]), 0.5, np.array([[0.2, 0.0], [0.3, 0.5], [0.4, 0.4]]))
    without = np.full(2, np.inf)
    taper = Taper(position, variable, without, without, np.array([[1.0, 0.5], [0.5, 1.0]]), 0, ladder)
    found = analyse(localised_transform(problem.transform, taper, problem.operator), *problem.arguments[1:], comm)
    kept[name] = np.concatenate(comm.allgather(found.increment))
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
