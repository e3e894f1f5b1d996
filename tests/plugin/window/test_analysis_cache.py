"""Results that are used again while what they are made of stays the same."""

import numpy as np
from mpi4py import MPI

from plugin.window.analysis_cache import CachedResult


class OtherRank:
    """A second rank whose content is as told."""

    def __init__(self):
        self.same = True

    def allreduce(self, mine, op):
        assert op is MPI.LAND
        return mine and self.same


def test_a_result_is_made_again_only_where_something_changed():
    kept, made = CachedResult(), []

    def make():
        made.append(len(made))
        return made[-1]

    a, b = np.arange(6.0), np.array([1, 2])
    for expected, content in (
        (0, (a, b)),
        (0, (a.copy(), b.copy())),
        (1, (a + 1e-16 + np.spacing(a), b)),
        (2, (a, b)),
        (3, (a.reshape(2, 3), b)),
        (4, (a.astype(np.float32), b)),
        (5, (a[:3], np.append(a[3:], b))),
        (6, (a[::-1], b)),
        (6, (a[::-1], b)),
    ):
        assert kept.result_for(content, make, MPI.COMM_SELF) == expected
    assert kept.computed == len(made) == 7


def test_all_ranks_make_it_anew_when_one_must():
    kept, comm, made = CachedResult(), OtherRank(), []
    content = (np.arange(3.0),)
    for same, count in ((False, 1), (True, 1), (False, 2), (True, 2)):
        comm.same = same
        kept.result_for(content, lambda: made.append(1), comm)
        assert len(made) == count


def test_what_failed_is_not_taken_for_made():
    kept, content = CachedResult(), (np.arange(3.0),)

    def fails():
        raise ValueError("no")

    for _ in range(2):
        try:
            kept.result_for(content, fails, MPI.COMM_SELF)
        except ValueError:
            assert kept.computed == 0
    assert kept.result_for(content, lambda: 5, MPI.COMM_SELF) == 5
