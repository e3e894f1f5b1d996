"""Reading ahead and writing behind, in threads of their own while the rest computes.

HDF5 and VTK release Python's lock while they read and write. For collective work threads would be a trap: PETSc, and
HDF5 over MPI, wait for other ranks without releasing the lock, so a thread of one rank may wait for a thread of another
that cannot run. With `beside` false all is done in turn.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    read: Callable[[Item], Result], items: Iterable[Item], beside: bool = True
) -> Iterator[tuple[Item, Future[Result]]]:
    """Results of `read(item)`, each begun when the previous one is taken.

    At most two are in memory: the one in use and the one being read.

    Parameters
    ----------
    read : function of an item
    items : iterable
    beside : in a thread; if false, each is read when it is needed

    Yields
    ------
    item, and the Future of what was read, whose `result()` raises what `read` raised
    """
    if not beside:
        yield from ((item, _done(read, item)) for item in items)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
        coming: tuple[Item, Future[Result]] | None = None
        for item in items:
            if coming is not None:
                wait([coming[1]])
            then = item, pool.submit(read, item)
            if coming is not None:
                yield coming
            coming = then
        if coming is not None:
            yield coming


def _done(read: Callable[[Item], Result], item: Item) -> Future[Result]:
    """A Future that is already done."""
    future: Future[Result] = Future()
    try:
        future.set_result(read(item))
    except Exception as error:
        future.set_exception(error)
    return future


@contextmanager
def behind(beside: bool = True) -> Iterator[Callable[..., None]]:
    """A function that does work in the order in which it is given, one piece at a time.

    It waits for the previous piece and raises what that raised. At the end of the block the last piece is done.

    beside : in a thread; if false, each piece is done at once
    """
    if not beside:
        yield lambda work, *words: work(*words)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as pool:
        last: list[Future] = []

        def do(work, *words):
            if last:
                last.pop().result()
            last.append(pool.submit(work, *words))

        yield do
        if last:
            last.pop().result()
