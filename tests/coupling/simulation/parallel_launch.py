"""Run by test_launch on two ranks: a nested mpirun, and the processor time of the rank that waits."""

import sys
import time
from pathlib import Path

from mpi4py import MPI
from mpi_words import mpirun_words

from coupling.simulation.launch import launch

comm = MPI.COMM_WORLD
folder = Path(sys.argv[1])
program = """
import time
from mpi4py import MPI
ranks = MPI.COMM_WORLD.gather(MPI.COMM_WORLD.rank)
time.sleep(2)
if MPI.COMM_WORLD.rank == 0:
    print("nested ranks", ranks, "of", MPI.COMM_WORLD.size)
"""
began = time.process_time()
words = [*mpirun_words(2), sys.executable, "-c", program]
ended = launch(words, folder, comm)
used = comm.bcast(time.process_time() - began, root=1)
assert ended.code == 0, (folder / "launch.log").read_text()
if comm.rank == 0:
    sys.stdout.write((folder / "launch.log").read_text())
    sys.stdout.write(f"waiting rank used {used:.3f} s\n")
