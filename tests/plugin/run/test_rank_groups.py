"""How many groups ranks are cut into."""

import pytest
from mpi4py import MPI

from plugin.run.rank_groups import groups_for, split


class Ranks:
    """So many ranks on nodes of so many."""

    def __init__(self, size, on_node=None):
        self.size, self.on_node, self.rank = size, on_node or size, 0

    def Split_type(self, kind, key):
        assert kind == MPI.COMM_TYPE_SHARED
        return Ranks(self.on_node)

    def Free(self):
        pass

    def allreduce(self, value, op):
        return value


@pytest.mark.parametrize(
    ("items", "modes", "ranks", "memory", "groups"),
    [
        (100, 1, Ranks(8), 1e9, 8),  # one rank each
        (3, 1, Ranks(8), 1e9, 2),  # no more than there is work for, and 3 does not divide 8
        (100, 1e9, Ranks(8), 4e9, 4),
        (100, 1e9, Ranks(8, 4), 4e9, 8),  # two nodes hold four each
        (100, 1e9, Ranks(8), 1e8, 1),  # it must lie somewhere
        (100, 1e9, Ranks(7), 3e9, 1),
    ],
)
def test_as_many_as_there_is_work_and_memory_for(items, modes, ranks, memory, groups):
    assert groups_for(items, modes, ranks, memory) == groups


def test_half_of_the_memory_is_taken_if_nothing_is_said():
    assert groups_for(10, 1, Ranks(2)) == 2 and groups_for(10, 1e15, Ranks(2)) == 1


def test_a_single_rank_is_a_group():
    group = split(MPI.COMM_SELF, 1)
    assert (group.comm.size, group.number, group.count) == (1, 0, 1) and group.share([1, 2, 3]) == [1, 2, 3]
    with pytest.raises(ValueError, match="2 groups of 1 ranks; 1 are possible"):
        split(MPI.COMM_SELF, 2)
