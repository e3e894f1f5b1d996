"""Pairs of snapshots of one run that are a given time apart, and the taper of covariances in time."""

import numpy as np
import pytest

from da.background.lag_pairs import lag_pairs, time_taper


def test_each_sample_has_its_earlier_snapshots():
    times = np.arange(10) * 2.0
    pairs = lag_pairs(times, [4.0, 2.0])
    assert pairs.lags.tolist() == [2.0, 4.0] and pairs.n_pairs == 8
    assert np.array_equal(times[pairs.numbers[0]] - times[pairs.numbers[1]], np.full(8, 2.0))
    assert np.array_equal(times[pairs.numbers[0]] - times[pairs.numbers[2]], np.full(8, 4.0))


def test_a_negative_lag_is_of_a_snapshot_that_comes_after():
    times = np.arange(10) * 2.0
    pairs = lag_pairs(times, [4.0, -2.0])
    assert pairs.lags.tolist() == [-2.0, 4.0] and pairs.n_pairs == 7
    assert np.array_equal(times[pairs.numbers[1]] - times[pairs.numbers[0]], np.full(7, 2.0))
    assert np.array_equal(times[pairs.numbers[0]] - times[pairs.numbers[2]], np.full(7, 4.0))


def test_no_lag_takes_every_snapshot_alone():
    assert lag_pairs(np.array([0.0, 5.0, 1.0]), []).numbers.shape == (1, 3)


def test_no_pair_bridges_two_runs():
    times, run = np.tile(np.arange(4.0), 2) + np.repeat([0.0, 4.0], 4), np.repeat(["a", "b"], 4)
    joined, apart = lag_pairs(times, [1.0]), lag_pairs(times, [1.0], run)
    assert joined.n_pairs == 7 and apart.n_pairs == 6
    assert (run[apart.numbers[0]] == run[apart.numbers[1]]).all()


def test_snapshots_in_another_order_are_the_same_pairs():
    rng = np.random.default_rng(0)
    order = rng.permutation(12)
    times = np.arange(12.0)
    straight, mixed = lag_pairs(times, [3.0]), lag_pairs(times[order], [3.0])
    pairs = {tuple(one) for one in order[mixed.numbers].T.tolist()}
    assert pairs == {tuple(one) for one in straight.numbers.T.tolist()}


def test_times_that_are_rounded_are_the_same():
    times = np.cumsum(np.full(50, 0.1)) + 1000.0
    assert lag_pairs(times, [0.4]).n_pairs == 46


def test_two_snapshots_of_one_time_make_no_trouble():
    assert lag_pairs(np.array([0.0, 1.0, 1.0, 2.0, 3.0]), [1.0]).n_pairs == 4


@pytest.mark.parametrize(
    "times, lags, sentence",
    [
        (np.arange(9) * 2.0, [3.0], "0 of 9 snapshots have others of their run 3 s before them, expected two or more; "
         "snapshots of a run are 2 s apart; give lags that are multiples of that"),
        (np.array([0.0, 1.0, 5.0]), [2.0], "snapshots of a run are 1 to 4 s apart"),
        (np.arange(5.0), [2.0, 2.0], "lags 2, 2 s, expected finite ones, none of them zero or twice"),
        (np.arange(5.0), [0.0], "lags 0 s, expected finite ones, none of them zero"),
        (np.arange(5.0), [np.inf], "lags inf s, expected finite ones"),
        (np.arange(5.0), [4.0], "1 of 5 snapshots have others of their run 4 s before them"),
    ],
)  # fmt: skip
def test_lags_that_do_not_fit_are_refused_with_what_there_is(times, lags, sentence):
    with pytest.raises(ValueError, match="snapshots|lags") as error:
        lag_pairs(times, lags)
    assert sentence in str(error.value)


def test_runs_of_one_snapshot_have_no_pair():
    with pytest.raises(ValueError, match="no run has two snapshots"):
        lag_pairs(np.arange(5.0), [1.0], np.arange(5))


def test_the_taper_in_time_is_a_covariance():
    taper = time_taper(np.array([4.0, 8.0, 16.0]), 10.0)
    assert np.allclose(np.diag(taper), 1.0) and np.array_equal(taper, taper.T)
    assert taper[1, 3] == pytest.approx(np.exp(-(12.0**2) / 200.0)) and np.linalg.eigvalsh(taper)[0] > 0.0
    assert (time_taper(np.array([4.0]), np.inf) == 1.0).all()
    with pytest.raises(ValueError, match="time scale of 0 s"):
        time_taper(np.array([4.0]), 0.0)
