"""The factor of background errors, from innovations whose variance is known."""

import numpy as np
import pytest

from da.background.adaptive import FactorRule, next_factor, variance_factor


def innovations(factor, n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    background, error = 0.5 + rng.random(n), 0.2 + rng.random(n)
    return rng.normal(size=n) * np.sqrt((factor * background) ** 2 + error**2), background, error


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.0])
def test_the_estimate_is_the_factor_that_innovations_were_drawn_with(factor):
    assert variance_factor(*innovations(factor)) == pytest.approx(factor**2, rel=0.06)


def test_it_goes_to_the_truth_in_some_windows_and_stays():
    rule, factors = FactorRule(memory=3.0), [1.0]
    for seed in range(40):
        factors.append(next_factor(factors[-1], *innovations(0.4, 50, seed), rule))
    assert 0.6 < factors[1] < 1.0  # one window alone is not believed
    assert np.mean(factors[15:]) == pytest.approx(0.4, rel=0.15)


def test_the_first_estimate_counts_by_itself():
    given, rule = innovations(0.4, 50), FactorRule()
    first = next_factor(None, *given, rule)
    assert first == pytest.approx(np.sqrt(variance_factor(*given)), rel=1e-12)
    assert next_factor(first, *given, rule) == pytest.approx(first, rel=1e-12)
    few = [of[:4] for of in given]
    assert next_factor(None, *few, rule) is None


def test_memory_one_is_the_last_window_alone():
    given = innovations(0.7, 200)
    assert next_factor(3.0, *given, FactorRule(memory=1.0)) == pytest.approx(np.sqrt(variance_factor(*given)))


def test_bounds_few_readings_and_no_spread():
    small, background, error = innovations(1.0, 30)
    rule = FactorRule(memory=1.0, lowest=0.2, highest=1.5)
    assert next_factor(1.0, 0.0 * small, background, error, rule) == 0.2  # λ̂ below zero
    assert next_factor(1.0, 100.0 * small, background, error, rule) == 1.5
    assert next_factor(0.9, small[:4], background[:4], error[:4], rule) == 0.9
    assert next_factor(0.9, small, 0.0 * background, error, rule) == 0.9
