"""Analyses with readings of before on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import N_SAMPLES, N, make_problem, places

from da.analysis import analyse
from da.background.lag_pairs import lag_pairs
from da.background.lagged import lagged_transform
from da.background.localisation import Taper

comm = MPI.COMM_WORLD
kept = {}
pairs = lag_pairs(np.arange(float(N_SAMPLES)), (1.0, 3.0))
for name, shares in (("even", None), ("uneven", [5, 0, 1] if comm.size == 3 else [5, 1])):
    for kind in ("tsvd", "reduced"):
        problem = make_problem(comm, kind, 10, shares)
        position, variable = (of[problem.rows] for of in places(np.arange(N)))
        between, lengths = np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([2.0, 3.0])
        taper = Taper(position, variable, lengths, lengths, between, 2 if kind == "tsvd" else 0)
        lag = np.arange(40)[problem.operator.rows] % 3
        n_local = problem.rows.stop - problem.rows.start
        for how, of in (("tapered", taper), ("as it is", None)):
            made = lagged_transform(problem.transform, of, pairs, 4.0, problem.operator, lag)
            found = analyse(made.transform, made.operator, *problem.arguments[2:], comm)
            parts = found.increment[:n_local], made.operator.observe(found.increment)
            kept[f"{name} {kind} {how}"] = np.concatenate([one for p in parts for one in comm.allgather(p)])
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
