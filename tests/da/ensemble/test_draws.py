"""Members' first values."""

import numpy as np
import pytest

from da.ensemble.prior import LogNormal, Normal, Uniform, draws, square_root, values


def test_draws_are_seeded():
    first, again, other = (draws(6, np.eye(3), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_draws_are_standardised_and_one_in_each_part():
    z = draws(24, np.eye(2), np.random.default_rng(3))
    np.testing.assert_allclose(z.mean(axis=1), 0.0, atol=1e-14)
    np.testing.assert_allclose(z.std(axis=1, ddof=1), 1.0, rtol=1e-14)
    x = np.sort(values([Uniform(0.0, 24.0)] * 2, z), axis=1)
    assert np.abs(x - (np.arange(24) + 0.5)).max() < 1.2  # standardising moves them a little


def test_draws_are_correlated():
    correlation = np.exp(-np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))) / 2.0)
    z = draws(4000, correlation, np.random.default_rng(4))
    np.testing.assert_allclose(np.corrcoef(z), correlation, atol=0.05)


def test_each_row_has_its_own_prior():
    z = np.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(values([Normal(1.0, 2.0), LogNormal(3.0, 0.1)], z)[:, 0], [1.0, 3.0])
    assert values([], np.empty((0, 5))).shape == (0, 5)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="an ensemble of 1 member"):
        draws(1, np.eye(2), np.random.default_rng(0))
    with pytest.raises(ValueError, match="not positive definite"):
        square_root(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="low is 3, high 2"):
        Uniform(3.0, 2.0)
    with pytest.raises(ValueError, match="expected two numbers"):
        Uniform(0.0, np.inf)
    with pytest.raises(ValueError, match="deviation is 0, expected a number above zero"):
        Normal(1.0, 0.0)
    with pytest.raises(ValueError, match="median is -1"):
        LogNormal(-1.0, 0.5)
