"""Waiting that leaves the processors to others. Nothing here starts MPI."""

import time
from typing import TYPE_CHECKING

from coupling.common.watchdog import alive

if TYPE_CHECKING:  # importing it starts MPI
    from mpi4py import MPI


def wait_asleep(comm: "MPI.Comm", pause: float = 0.02) -> None:
    """A barrier that sleeps instead of spinning. Collective.

    The watchdog of a rank that waits is reset meanwhile: it is the one waited for that must make progress.
    """
    request = comm.Ibarrier()
    while not request.Test():
        alive()
        time.sleep(pause)
