"""Analyses with modes of blocks on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import VARIABLES, N, make_problem, places, rows_of, whole_snapshots

from da.analysis import analyse
from da.background.blocks import cover
from da.background.linear_transform import LinearTransform
from da.background.local_modes import CodeLengths, local_modes
from da.background.scaling import variable_scaling

comm = MPI.COMM_WORLD
position = places(np.arange(N))[0]
kept = {}
for name, shares in (("even", None), ("uneven", [5, 0, 1] if comm.size == 3 else [5, 1])):
    problem, rows = make_problem(comm, "tsvd", 10, shares), rows_of(comm, shares)
    snapshots = whole_snapshots()[rows]
    scale = variable_scaling(snapshots, VARIABLES, comm).scale
    for overlap in (False, True):
        blocks = cover(position.min(0) - 0.05, position.max(0) + 0.05, np.array([3.0, 1.0, 1.0]), overlap)
        modes = local_modes(snapshots, position[rows], blocks, comm, 20, CodeLengths(4.0), scale=scale)
        found = analyse(LinearTransform(modes, scale, comm), *problem.arguments[1:], comm)
        kept[f"{name} {overlap}"] = np.concatenate(comm.allgather(found.increment))
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
