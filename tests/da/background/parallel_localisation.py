"""Localised analyses on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import N, make_problem, places

from da.analysis import analyse
from da.background.localisation import Taper, localised_transform

comm = MPI.COMM_WORLD
kept = {}
for name, shares in (("even", None), ("uneven", [5, 0, 1] if comm.size == 3 else [5, 1])):
    for kind in ("tsvd", "reduced"):
        problem = make_problem(comm, kind, 10, shares)
        position, variable = (of[problem.rows] for of in places(np.arange(N)))
        between, lengths = np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([2.0, 3.0])
        taper = Taper(position, variable, lengths, lengths, between, 2 if kind == "tsvd" else 0)
        transform = localised_transform(problem.transform, taper, problem.operator)
        found = analyse(transform, *problem.arguments[1:], comm)
        kept[f"{name} {kind}"] = np.concatenate(comm.allgather(found.increment))
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
