"""Run by test_periodic_pieces on several ranks: read a periodic checkpoint in pieces, change its fields, write it."""

import sys

from mpi4py import MPI
from test_periodic_pieces import changed

from coupling.fluidity.checkpoint import open_restart, write_restart

restart = open_restart(sys.argv[1])
write_restart(restart, sys.argv[2], MPI.COMM_WORLD, changed(restart, MPI.COMM_WORLD))
