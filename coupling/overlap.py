"""Reading ahead and writing behind, in threads of their own while the rest computes.

The threads may talk over MPI if what they use has a communicator of its own, and MPI was started for threads.
HDF5 and VTK let Python go on while they read and write.
"""

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager


def ahead(read, items):
    """Results of `read(item)`, each begun when the one before is taken.

    Two of them are in memory at most: the one in use, and the one that is being read.

    Parameters
    ----------
    read : function of an item
    items : iterable

    Yields
    ------
    item, and the Future of what was read: its `result()` does not wait long, and raises what `read` raised
    """
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as pool:
        coming = None
        for item in items:
            if coming is not None:
                wait([coming[1]])
            then = item, pool.submit(read, item)
            if coming is not None:
                yield coming
            coming = then
        if coming is not None:
            yield coming


@contextmanager
def behind():
    """A function that has work done in the order in which it is given, one piece at a time.

    It waits for the piece before; what that raised is raised then. At the end of the block the last piece is done.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as pool:
        last = []

        def do(work, *words):
            if last:
                last.pop().result()
            last.append(pool.submit(work, *words))

        yield do
        if last:
            last.pop().result()
