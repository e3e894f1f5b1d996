"""ES-MDA against one Kalman update of a linear problem, and what it gains where the model is not linear."""

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import relative_difference

from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.ensemble.esmda import coefficients, weaker
from da.ensemble.etkf import etkf
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("fall", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("iterations", [1, 4, 7])
def test_coefficients_count_each_reading_once(iterations, fall):
    alpha = coefficients(iterations, fall)
    assert len(alpha) == iterations and np.sum(1.0 / alpha) == pytest.approx(1.0, rel=1e-14)
    assert np.all(alpha >= 1.0) and np.allclose(alpha[:-1], fall * alpha[1:])


def test_four_of_the_same_are_fours():
    np.testing.assert_allclose(coefficients(4), 4.0)


def readings_of(seen, values, error):
    m = len(values)
    return EnsembleReadings(
        values - mean_of(seen), anomalies_of(seen), error, np.zeros((m, 3)), np.full(m, "x")
    )  # fmt: skip


def smoothed(parameters, model, values, error, alpha):
    for factor in alpha:
        readings = readings_of(model(parameters), values, error)
        parameters = etkf(weaker(readings, factor), COMM).parameters(parameters)
    return parameters


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("fall", [1.0, 2.0])
def test_of_a_linear_model_it_is_one_kalman_update(fall, correlated):
    """Also with fewer members than readings, as long as there are more than parameters."""
    rng = np.random.default_rng(0)
    h, values = rng.normal(size=(30, 3)), rng.normal(size=30)
    prior = rng.normal(size=(3, 8)) + 1.0
    std = 0.3 + rng.random(30)
    near = 0.5 ** np.abs(np.arange(30)[:, None] - np.arange(30)) if correlated else np.eye(30)
    matrix = std[:, None] * near * std
    error = given_error(matrix, slice(0, 30), COMM) if correlated else diagonal_error(std, slice(None))
    result = smoothed(prior, lambda m: h @ m, values, error, coefficients(4, fall))
    b = np.cov(prior)
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + matrix)
    assert relative_difference(mean_of(result), mean_of(prior) + gain @ (values - h @ mean_of(prior))) < 1e-10
    assert relative_difference(np.cov(result), b - gain @ h @ b) < 1e-10


def test_where_the_model_is_not_linear_several_steps_come_nearer():
    """A plume's decay with distance: the posterior's mode is known; one step misses it, four nearly reach it."""
    rng = np.random.default_rng(1)
    at, truth = np.linspace(0.0, 3.0, 12), np.array([1.2, -0.8])

    def model(m):
        return np.exp(m[0]) * np.exp(-np.exp(m[1]) * at[:, None])

    std = np.full(12, 0.02)
    values = model(truth[:, None])[:, 0] + std * rng.normal(size=12)
    prior = rng.normal(size=(2, 40))
    error = diagonal_error(std, slice(None))
    away = [
        np.linalg.norm(mean_of(smoothed(prior, model, values, error, coefficients(n))) - truth) for n in (1, 4, 8)
    ]  # fmt: skip
    assert away[1] < 0.3 * away[0] and away[2] < 0.1


def test_no_readings_change_nothing():
    prior = np.random.default_rng(2).normal(size=(2, 5))
    empty = readings_of(np.empty((0, 5)), np.empty(0), diagonal_error(np.empty(0), slice(None)))
    np.testing.assert_array_equal(etkf(weaker(empty, 4.0), COMM).parameters(prior), prior)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="0 iterations, expected one or more"):
        coefficients(0)
    with pytest.raises(ValueError, match=r"fall by 0\.5, expected 1 or more"):
        coefficients(4, 0.5)
    one = readings_of(np.ones((1, 5)), np.ones(1), diagonal_error(np.ones(1), slice(None)))
    with pytest.raises(ValueError, match=r"factor 0\.5 on R, expected 1 or more"):
        weaker(one, 0.5)
