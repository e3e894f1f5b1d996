"""What every transform, operator or error gives on the ranks that run this: KIND FILE."""

import sys

import numpy as np
from every_results import RESULTS
from mpi4py import MPI

kind, path = sys.argv[1:]
results = RESULTS[kind](MPI.COMM_WORLD)
if MPI.COMM_WORLD.rank == 0:
    np.savez(path, **results)
