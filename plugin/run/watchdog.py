"""A limit on how long a rank may go without getting on, for what no message tells: a rank that hangs.

`alive()` is called wherever a job gets on. If it is not for the time given, this rank shows where each of its threads
is (on stderr) and ends with code 1, and then mpirun, or srun --kill-on-bad-exit, ends the others, which in lock-step
have shown the same. The clock is a thread of the standard library's faulthandler outside of Python: it also runs while
PETSc waits for other ranks without letting Python go on.
"""

import faulthandler
import sys
from contextlib import contextmanager

_limit = None  # [s] while a block of `watched` runs


def alive():
    """Tell that this rank has got on."""
    if _limit is not None:
        faulthandler.dump_traceback_later(_limit, exit=True, file=sys.__stderr__)  # in place of the one before


@contextmanager
def watched(limit):
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
def unwatched():
    """No limit within the block: it waits for others, who have their own."""
    faulthandler.cancel_dump_traceback_later()
    try:
        yield
    finally:
        alive()
