"""Waiting that leaves the processors to others. Nothing here starts MPI."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing it starts MPI
    from mpi4py import MPI


def wait_asleep(comm: "MPI.Comm", pause: float = 0.02) -> None:
    """A barrier that sleeps instead of spinning. Collective."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(pause)
