"""An analysis through all gates on these ranks; writes the fields in their pieces' order and what gates did: FILE."""

import json
import sys

import numpy as np
from gated_analysis import ALL, gates_of, make_analysis
from mpi4py import MPI

comm = MPI.COMM_WORLD
background, state, restart, found = make_analysis(comm)
through = gates_of(background, **ALL).passed(found, state, restart)
kept = {name: comm.gather(of.values) for name, of in through.changes.items()}
if comm.rank == 0:
    fields = {name: np.concatenate(parts) for name, parts in kept.items()}
    residual = [np.nan if row["residual_of_restart"] is None else row["residual_of_restart"] for row in through.table]
    np.savez(sys.argv[1], told=json.dumps(through.gates), residual=residual, **fields)
