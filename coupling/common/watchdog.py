"""A limit on how long a rank may go without progress, for the failure that gives no message: a rank that hangs.

`alive()` is called wherever a job makes progress, and by what waits for a program that has a limit of its own, at each
look at it (`coupling.simulation.launch`). If it is not for the time given, this rank shows where each of its threads is
(on stderr) and ends with code 1, and then mpirun, or srun --kill-on-bad-exit, ends the others, which in lock-step have
shown the same. The clock is a thread of the standard library's faulthandler outside of Python: it also runs while PETSc
waits for other ranks without letting Python go on.
"""

import faulthandler
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_OFTEN = 0.02  # part of the limit within which the clock is not reset again: that starts a thread

_limit: float | None = None  # [s] while a block of `watched` runs
_reset = 0.0  # when the clock was reset last, as time.monotonic has it


def alive() -> None:
    """Reset the clock: this rank has made progress."""
    global _reset
    if _limit is not None and time.monotonic() - _reset >= _OFTEN * _limit:
        _reset = time.monotonic()
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(_limit, exit=True, file=sys.__stderr__)  # in place of the one before


@contextmanager
def watched(limit: float | None) -> Iterator[None]:
    """Within the block `alive()` must be called every `limit` seconds; None for no limit."""
    global _limit, _reset
    _limit, _reset = limit, 0.0
    alive()
    try:
        yield
    finally:
        _limit = None
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def unwatched() -> Iterator[None]:
    """No limit within the block, for a driver that waits for its program by other means than `launch`.

    The block should hold nothing but that wait, and the wait a limit of its own.
    """
    global _reset
    faulthandler.cancel_dump_traceback_later()
    try:
        yield
    finally:
        _reset = 0.0
        alive()
