"""Named moments of a run at which tests have it fail: `reached("folder written")`.

In normal use a moment costs one comparison. With FLUIDITY_DA_FAULT="kill:folder written:2:0" rank 0 kills itself when
it gets there for the second time; without the last number every rank does. The kinds of fault:

    kill    SIGKILL: nothing is cleared away       stop    SIGTERM, as from a scheduler
    raise   an error that nobody expects           full    the disk is full
    hang    this rank never goes on
"""

import errno
import os
import signal
import time
from dataclasses import dataclass

VARIABLE = "FLUIDITY_DA_FAULT"


def _kill(moment):
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(moment):
    os.kill(os.getpid(), signal.SIGTERM)


def _raise(moment):
    raise RuntimeError(f"fault at {moment!r}")


def _full(moment):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _hang(moment):
    time.sleep(1e6)


_KINDS = {"kill": _kill, "stop": _stop, "raise": _raise, "full": _full, "hang": _hang}


@dataclass
class Fault:
    """What happens at the `passing`-th time that `moment` is reached from now on."""

    kind: str
    moment: str
    passing: int

    def at(self, moment: str) -> None:
        if moment == self.moment:
            self.passing -= 1
            if self.passing == 0:
                _KINDS[self.kind](moment)


def _planned(text):
    """The Fault that a text asks for on this rank, or None."""
    kind, moment, passing, *rank = text.split(":")
    if kind not in _KINDS:
        raise ValueError(f"{VARIABLE}: {kind!r} is no fault; known: {', '.join(_KINDS)}")
    if rank:
        from mpi4py import MPI

        if MPI.COMM_WORLD.rank != int(rank[0]):
            return None
    return Fault(kind, moment, int(passing))


_fault = None


def reached(moment: str) -> None:
    """Tell that this rank has got to a moment."""
    if _fault is not None:
        _fault.at(moment)


def plan(text: str | None) -> None:
    """Have a fault from now on, as the variable tells it; None for none."""
    global _fault
    _fault = None if text is None else _planned(text)


plan(os.environ.get(VARIABLE))
