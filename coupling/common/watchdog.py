"""A limit on how long a rank may go without progress, for the failure that gives no message: a rank that hangs.

`alive()` is called wherever a job makes progress. If it is not for the time given, this rank shows where each of its threads
is (on stderr) and ends with code 1, and then mpirun, or srun --kill-on-bad-exit, ends the others, which in lock-step
have shown the same. The clock is a thread of the standard library's faulthandler outside of Python: it also runs while
PETSc waits for other ranks without letting Python go on.
"""

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_limit: float | None = None  # [s] while a block of `watched` runs


def alive() -> None:
    """Reset the clock: this rank has made progress."""
    if _limit is not None:
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(_limit, exit=True, file=sys.__stderr__)  # in place of the one before


@contextmanager
def watched(limit: float | None) -> Iterator[None]:
    """Within the block `alive()` must be called every `limit` seconds; None for no limit."""
    global _limit
    _limit = limit
    alive()
    try:
        yield
    finally:
        _limit = None
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def unwatched() -> Iterator[None]:
    """No limit within the block: it waits for others, who have their own."""
    faulthandler.cancel_dump_traceback_later()
    try:
        yield
    finally:
        alive()
