"""How ranks share analyses that do not depend on each other: groups take them in turn, ranks of a group share the grid.

Groups need nothing of each other, so as many as there are is best, up to one for each rank; each holds the modes once,
so the node's memory is the limit.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mpi4py import MPI

T = TypeVar("T")


@dataclass(frozen=True)
class RankGroup:
    """The group of this rank.

    comm : communicator of its ranks, a run of the whole's
    number, count : which group it is, of how many
    """

    comm: MPI.Comm
    number: int
    count: int

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this group takes."""
        return items[self.number :: self.count]


def split(comm: MPI.Comm, n_groups: int) -> RankGroup:
    """Cut the ranks into so many groups of equal size. Collective.

    Raises
    ------
    ValueError
        if the ranks do not divide by it
    """
    if not 1 <= n_groups <= comm.size or comm.size % n_groups:
        fitting = ", ".join(str(n) for n in range(1, comm.size + 1) if comm.size % n == 0)
        raise ValueError(f"{n_groups} groups of {comm.size} ranks; {fitting} are possible")
    number = comm.rank * n_groups // comm.size
    return RankGroup(comm.Split(number, comm.rank), number, n_groups)


def groups_for(n_items: int, modes_bytes: float, comm: MPI.Comm, memory: float | None = None) -> int:
    """How many groups are best: as many as there is work for and as a node's memory holds the modes of. Collective.

    Parameters
    ----------
    n_items : pieces of work
    modes_bytes : that each group holds once, over its ranks
    comm : MPI communicator
    memory : bytes of a node that the modes may take; None takes half of what it has

    Returns
    -------
    int, a divisor of the number of ranks; 1 at least, whatever the memory
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    ranks_here = node.size
    node.Free()
    memory = memory or 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    best = 1
    for count in range(2, comm.size + 1):
        # ranks of a node belong to so many groups, or to a part of one
        held = modes_bytes * ranks_here * count / comm.size
        if comm.size % count == 0 and count <= n_items and held <= memory:
            best = count
    return comm.allreduce(best, MPI.MIN)
