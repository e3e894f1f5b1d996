"""Parameters between windows: their moments follow the formulas, exactly where the members allow it."""

import numpy as np
import pytest

from da.ensemble.wander import STAYS, Wander, first_order, kept_apart, random_walk, wandered

N, EYE = 24, np.eye(2)


def members(n: int = N) -> np.ndarray:
    return 0.3 * np.random.default_rng(0).standard_normal((2, n)) + np.array([[1.0], [-0.5]])


def variance(z: np.ndarray) -> np.ndarray:
    return z.var(axis=1, ddof=1)


def test_what_stays_stays():
    z = members()
    assert np.array_equal(wandered(z, [STAYS, STAYS], EYE, np.random.default_rng(1)), z)


def test_a_random_walk_keeps_the_mean_and_adds_its_variance():
    z, walk = members(), random_walk(0.2)
    after = wandered(z, [walk, STAYS], EYE, np.random.default_rng(1))
    np.testing.assert_allclose(after.mean(axis=1), z.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(variance(after), variance(z) + [0.04, 0.0], rtol=1e-12)
    np.testing.assert_allclose(after[1], z[1], rtol=1e-15)


def test_ar1_leads_back_to_the_prior():
    z, ar1 = members(), first_order(60.0, 30.0)
    assert ar1.memory == pytest.approx(np.exp(-0.5))
    once = wandered(z, [ar1, ar1], EYE, np.random.default_rng(1))
    np.testing.assert_allclose(once.mean(axis=1), ar1.memory * z.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(variance(once), ar1.memory**2 * variance(z) + 1.0 - ar1.memory**2, rtol=1e-12)
    for k in range(60):
        z = wandered(z, [ar1, first_order(60.0, 30.0, spread=0.5)], EYE, np.random.default_rng(k))
    np.testing.assert_allclose(z.mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=1, ddof=1), [1.0, 0.5], rtol=1e-12)


def test_steps_are_correlated():
    correlation = np.array([[1.0, 0.8], [0.8, 1.0]])
    z = np.zeros((2, N))
    after = wandered(z, [random_walk(0.5)] * 2, correlation, np.random.default_rng(2))
    np.testing.assert_allclose(np.cov(after), 0.25 * correlation, rtol=1e-10)


def test_few_members_wander_as_far_as_asked():
    z = np.zeros((2, 3))
    after = wandered(z, [random_walk(0.5)] * 2, EYE, np.random.default_rng(2))
    np.testing.assert_allclose(after.mean(axis=1), 0.0, atol=1e-14)
    np.testing.assert_allclose(variance(after), 0.25, rtol=1e-12)


def test_wandering_is_seeded():
    one, two, three = (
        wandered(members(), [random_walk(0.1)] * 2, EYE, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(one, two) and not np.array_equal(one, three)


def test_spread_has_a_floor():
    z = members()
    after = kept_apart(z, np.array([0.5, 0.0]))
    assert after[0].std(ddof=1) == pytest.approx(0.5) and np.array_equal(after[1], z[1])
    np.testing.assert_allclose(after.mean(axis=1), z.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.corrcoef(after), np.corrcoef(z), rtol=1e-10)
    assert np.array_equal(kept_apart(z, np.array([0.01, 0.01])), z)


def test_members_that_are_all_the_same_stay_so():
    z = np.ones((1, 4))
    assert np.array_equal(kept_apart(z, np.array([0.5])), z)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="expected 0 ≤ memory ≤ 1 and step ≥ 0"):
        Wander(1.2, 0.1)
    with pytest.raises(ValueError, match=r"AR\(1\): time is 0, expected a number above zero"):
        first_order(0.0, 30.0)
