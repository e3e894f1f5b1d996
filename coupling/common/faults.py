"""Named moments of a run at which tests let it fail: `reached("folder written")`.

In normal use a moment costs one comparison. With FLUIDITY_DA_FAULT="kill:folder written:2:0" rank 0 kills itself when
it reaches that moment for the second time; without the last number every rank does. The kinds of fault:

    kill    SIGKILL: nothing is cleaned up         stop    SIGTERM, as from a scheduler
    raise   an error that nobody handles           full    the disk is full
    hang    this rank never continues
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
    """A fault at the `passing`-th time from now that `moment` is reached."""

    kind: str
    moment: str
    passing: int

    def at(self, moment: str) -> None:
        """Count a moment, and fail if it is the one."""
        if moment == self.moment:
            self.passing -= 1
            if self.passing == 0:
                _KINDS[self.kind](moment)


def _planned(text):
    """The Fault of this rank that a text describes, or None."""
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
    """Mark a moment that this rank has reached."""
    if _fault is not None:
        _fault.at(moment)


def plan(text: str | None) -> None:
    """Set the fault from now on, described as in the variable; None removes it."""
    global _fault
    _fault = None if text is None else _planned(text)


plan(os.environ.get(VARIABLE))
