"""Blocks in time: no state near a withheld one, nor one that stands for its forecast, is a sample of its errors."""

import numpy as np
import pytest

from plugin.case.configuration import ConfigurationError
from plugin.tune.folds import correlation_time, folds_of, runs_of

ONE = 2.0 * np.arange(100)
THREE = np.concatenate([np.arange(40.0), np.arange(25.0), np.arange(35.0)])


@pytest.mark.parametrize("times", [ONE, THREE], ids=["one run", "three runs"])
@pytest.mark.parametrize("lag", [None, 3.0, 14.0])
@pytest.mark.parametrize("gap", [0.0, 9.0])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_gap_lies_around_what_is_withheld(times, lag, gap, count):
    run, step = runs_of(times), np.median(np.diff(times))
    folds = folds_of(times, count, gap, lag, 1000)
    for fold in folds:
        assert len(np.unique(fold.training)) == len(fold.training) >= 3
        for number in fold.withheld:
            near = run[fold.training] == run[number]
            assert not near.any() or np.abs(times[fold.training][near] - times[number]).min() > gap
        if lag is not None:
            assert not np.isin(fold.before, fold.training).any()
            np.testing.assert_array_equal(run[fold.before], run[fold.withheld])
            assert np.abs(times[fold.withheld] - times[fold.before] - lag).max() <= 0.5 * step
    withheld = np.concatenate([fold.withheld for fold in folds])
    assert len(np.unique(withheld)) == len(withheld)
    if lag is None:  # each state once
        np.testing.assert_array_equal(np.sort(withheld), np.arange(len(times)))


def test_whole_runs_are_withheld_where_there_are_as_many_as_folds():
    for fold in folds_of(THREE, 3, 5.0, None, 1000):
        assert not np.isin(runs_of(THREE)[fold.training], runs_of(THREE)[fold.withheld]).any()
        assert len(fold.training) + len(fold.withheld) == len(THREE)


def test_few_states_of_a_block_are_spread_over_it():
    fold = folds_of(ONE, 4, 0.0, None, 5)[1]
    np.testing.assert_array_equal(fold.withheld, [25, 31, 37, 43, 49])
    assert len(fold.training) == 75  # the others of the block are not used all the same


@pytest.mark.parametrize("memory", [0.6, 0.9])
def test_correlation_time_of_a_known_process(memory):
    rng = np.random.default_rng(0)
    states = rng.standard_normal((200, 400))
    for k in range(1, 200):
        states[k] = memory * states[k - 1] + np.sqrt(1.0 - memory**2) * states[k]
    states -= states.mean(axis=0)
    expected = np.ceil(-1.0 / np.log(memory))  # the first step below 1/e
    assert abs(correlation_time(states @ states.T, 3.0 * np.arange(200.0)) - 3.0 * expected) <= 3.0
    # another run begins with other weather
    twice = np.concatenate([3.0 * np.arange(100.0)] * 2)
    assert abs(correlation_time(states @ states.T, twice) - 3.0 * expected) <= 3.0


def test_states_that_never_forget():
    assert correlation_time(np.ones((11, 11)), np.arange(11.0)) == 5.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"count": 1}, "--folds 1, expected two or more"),
        ({"count": 60}, "100 states are too few for 60 folds"),
        ({"gap": 500.0}, "with a gap of 500 s to the withheld states 0 states are left"),
        ({"lag": 0.5}, "a forecast of 0.5 s cannot be taken from states 2 s apart.*lag:2"),
        ({"lag": 300.0}, "no state of the block from 0 s has one 300 s before it"),
    ],
)
def test_folds_that_cannot_be_made(changes, told):
    settings = {"count": 5, "gap": 4.0, "lag": None, "most": 10, **changes}
    with pytest.raises(ConfigurationError, match=told):
        folds_of(ONE, **settings)
