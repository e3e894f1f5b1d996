"""Inflation: what it does to spread and mean, and Miyoshi's estimate of it."""

from dataclasses import replace

import numpy as np
import pytest
from ensemble_problem import make_ensemble
from mpi4py import MPI

from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.ensemble.etkf import etkf
from da.ensemble.inflation import adaptive_factors, inflated, inflated_readings, relaxed_to_prior_spread
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("factor", [1.3, 0.8, np.array([1.0, 1.1, 2.0])])
def test_a_factor_is_one_of_the_spread(factor):
    members = np.random.default_rng(1).normal(size=(3, 6))
    found = inflated(members, factor)
    np.testing.assert_allclose(mean_of(found), mean_of(members), rtol=0, atol=1e-15)
    np.testing.assert_allclose(np.std(found, axis=1), np.std(members, axis=1) * factor, rtol=1e-13)


def test_a_factor_of_one_changes_nothing():
    members = np.random.default_rng(1).normal(size=(3, 6))
    np.testing.assert_array_equal(inflated(members, 1.0), members)
    np.testing.assert_array_equal(inflated(members, np.ones(3)), members)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan])
def test_a_factor_is_positive(factor):
    with pytest.raises(ValueError, match="expected positive and finite"):
        inflated(np.zeros((3, 6)), factor)


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_relaxation_mixes_the_spreads(weight):
    problem = make_ensemble()
    prior, posterior = problem.state, etkf(problem.readings, COMM).state(problem.state)
    found = relaxed_to_prior_spread(prior, posterior, weight)
    expected = weight * np.std(prior, axis=1) + (1.0 - weight) * np.std(posterior, axis=1)
    np.testing.assert_allclose(np.std(found, axis=1), expected, rtol=1e-12)
    np.testing.assert_allclose(mean_of(found), mean_of(posterior), rtol=0, atol=1e-14)


def test_relaxation_leaves_rows_without_spread():
    members = np.ones((2, 5))
    np.testing.assert_array_equal(relaxed_to_prior_spread(members, members, 0.5), members)
    with pytest.raises(ValueError, match=r"weight in \[0, 1\]"):
        relaxed_to_prior_spread(members, members, 1.5)


def _drawn(factor, rng, m=400, members=20, std=0.7):
    """Readings of members whose spread is too small by a factor."""
    members = rng.normal(size=(m, members))
    innovation = factor * rng.normal(size=m) + std * rng.normal(size=m)
    anomalies = anomalies_of(members)
    anomalies /= np.std(anomalies, axis=1, ddof=1)[:, None]
    error = diagonal_error(np.full(m, std), slice(0, m))
    return EnsembleReadings(innovation, anomalies, error, np.zeros((m, 3)), np.full(m, "Tracer"))


def test_adaptive_factors_approach_the_true_one():
    rng, factors = np.random.default_rng(2), {}
    path = []
    for _ in range(400):
        factors = adaptive_factors(_drawn(1.3, rng), factors, spread=0.04)
        path.append(factors["Tracer"])
    assert np.mean(path[-100:]) == pytest.approx(1.3, abs=0.02)
    assert path[0] < 1.1  # and not at once


def test_the_estimate_is_miyoshis():
    readings = _drawn(1.2, np.random.default_rng(3), m=30)
    found = adaptive_factors(readings, {"Tracer": 1.1}, spread=0.3)
    b, alpha = 1.0 / 0.49, 1.21
    estimate = (np.mean(readings.innovation**2) / 0.49 - 1.0) / b
    error = 2.0 / 30 * ((1.0 + alpha * b) / b) ** 2
    assert found["Tracer"] ** 2 == pytest.approx((error * alpha + 0.09 * estimate) / (error + 0.09), rel=1e-12)


def test_factors_stay_within_their_bounds_and_where_nothing_is_known():
    rng = np.random.default_rng(4)
    wild = adaptive_factors(_drawn(30.0, rng), {}, spread=10.0, bounds=(0.9, 1.5))
    assert wild == {"Tracer": 1.5}
    flat = _drawn(1.0, rng)
    flat = replace(flat, anomalies=np.zeros_like(flat.anomalies))
    assert adaptive_factors(flat, {"Tracer": 1.2, "Pressure": 1.1}) == {
        "Tracer": pytest.approx(1.2), "Pressure": 1.1
    }  # fmt: skip


def test_readings_of_inflated_members():
    problem = make_ensemble()
    factors = {"Tracer": 1.5}
    found = inflated_readings(problem.readings, factors)
    members = inflated(problem.state, np.where(problem.variable == 0, 1.5, 1.0))
    np.testing.assert_allclose(found.anomalies, anomalies_of(problem.operator @ members), rtol=0, atol=1e-14)
