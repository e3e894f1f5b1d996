"""Run by test_checkpoint: read a checkpoint, change two fields, write it."""

import sys

from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart

comm = MPI.COMM_WORLD
restart = open_restart(sys.argv[1])
state = read_fields(restart, comm)
changes = {name: state[name].replaced(state[name].values * 1.5) for name in ("Tracer", "Velocity")}
write_restart(restart, sys.argv[2], comm, changes)
