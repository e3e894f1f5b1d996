"""Scores of ensembles beside their definitions, and what they say of an ensemble that is known to be right."""

import numpy as np
import pytest

from da.ensemble.inflation import inflated
from da.ensemble.verification import crps, rank_histogram, spread_and_error, with_reading_errors

M, MEMBERS = 4000, 12


@pytest.fixture(scope="module")
def right():
    """Values and members drawn alike."""
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(M, 1)) + 0.5 * rng.normal(size=(M, MEMBERS + 1))
    return drawn[:, 1:], drawn[:, 0]


@pytest.mark.parametrize("fair", [True, False])
def test_crps_is_its_definition(fair):
    rng = np.random.default_rng(2)
    members, value = rng.normal(size=(5, 6)), rng.normal(size=5)
    pairs = np.abs(members[:, :, None] - members[:, None, :]).sum(axis=(1, 2)) / (2.0 * (30 if fair else 36))
    expected = np.abs(members - value[:, None]).mean(axis=1) - pairs
    np.testing.assert_allclose(crps(members, value, fair), expected, rtol=1e-13)


def test_crps_of_a_gaussian_is_that_of_gneiting(right):
    """σ/√π on average, where the value is of the distribution itself (Gneiting & Raftery 2007, eq. 21)."""
    assert np.mean(crps(*right)) == pytest.approx(0.5 / np.sqrt(np.pi), rel=0.03)
    assert np.mean(crps(*right, fair=False)) > np.mean(crps(*right))


def test_crps_is_best_for_the_right_spread(right):
    members, value = right
    mean = members.mean(axis=1, keepdims=True)
    scores = [np.mean(crps(mean + factor * (members - mean), value)) for factor in (0.5, 1.0, 2.0)]
    assert scores[1] == min(scores)


def test_ranks_of_a_right_ensemble_are_flat(right):
    members, value = right
    counts = rank_histogram(members, value)
    assert counts.shape == (MEMBERS + 1,) and counts.sum() == pytest.approx(M)
    assert np.sum((counts - M / 13) ** 2) / (M / 13) < 30.0  # χ² of 12 degrees of freedom
    narrow = rank_histogram(inflated(members, 0.3), value)
    assert narrow[0] + narrow[-1] > 0.4 * M


def test_ranks_are_counted_by_hand():
    members = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(rank_histogram(members, np.array([2.5, 0.0, 0.0])), [1.25, 0.25, 1.25, 0.25])


def test_readings_need_their_errors(right):
    members, value = right
    rng = np.random.default_rng(3)
    read = value + 0.5 * rng.normal(size=M)
    bare = rank_histogram(members, read)
    drawn = rank_histogram(with_reading_errors(members, np.full(M, 0.5), rng), read)
    assert bare[0] + bare[-1] > 1.5 * (drawn[0] + drawn[-1])
    assert np.sum((drawn - M / 13) ** 2) / (M / 13) < 30.0


def test_spread_is_error(right):
    members, value = right
    of = spread_and_error(members, value)
    assert of.spread == pytest.approx(of.error, rel=0.03)
    read = value + 0.5 * np.random.default_rng(4).normal(size=M)
    of = spread_and_error(members, read, 0.5)
    assert of.spread == pytest.approx(of.error, rel=0.03)
    assert np.isnan(spread_and_error(members[:0], value[:0]).spread)
