"""4DEnVar and hybrid on the ranks that run this, members gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_ensemble import make_ensemble

from da.ensemble.envar import envar, patterns_of
from da.ensemble.hybrid import hybrid

comm = MPI.COMM_WORLD
kept = {}
for name, shares in (("even", None), ("uneven", [5, 0, 1] if comm.size == 3 else [5, 1])):
    small = make_ensemble(comm, shares, correlated=name == "even")
    patterns = patterns_of(small.taper, small.readings, small.variable, comm)
    for method, update in (
        ("envar", envar(small.readings, comm)),
        ("localised", envar(small.readings, comm, patterns)),
        ("hybrid", hybrid(small.readings, comm, small.static, patterns)),
    ):
        members = update.state(small.ensemble.state)
        every = np.concatenate(comm.allgather(members))
        kept[f"{name} {method}"] = np.concatenate([every, update.parameters(small.ensemble.parameters)])
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
