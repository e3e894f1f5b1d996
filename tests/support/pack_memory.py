"""Run by test_archive_command: pack dumps again and again, and tell the most memory used so far [bytes]."""

import sys

from mpi4py import MPI
from rich.console import Console

from plugin.archive import pack, unpack


def most():
    """Of this process alone; getrusage would count the parent's."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))


_, dumps, out, n_first = sys.argv
quiet = Console(quiet=True)
pack(f"{out}/few.vtkhdf", [dumps], MPI.COMM_SELF, quiet, chosen=lambda times: range(int(n_first)))
unpack(f"{out}/few.vtkhdf", f"{out}/few", MPI.COMM_SELF, quiet)
few = most()
pack(f"{out}/all.vtkhdf", [dumps], MPI.COMM_SELF, quiet)
unpack(f"{out}/all.vtkhdf", f"{out}/all", MPI.COMM_SELF, quiet)
sys.stdout.write(f"{few} {most()}\n")
