import numpy as np
import pytest
from mpi4py import MPI
from networks import Linear, make_latent_problem, tsvd_basis, vector
from small_problem import N, places, relative_difference

from da.analysis import analyse
from da.background.latent import decoded_transform, latent_modes
from da.bireduced import observation_encoded
from da.observation.correlated_error import correlated_error
from da.observation.diagonal_error import diagonal_error
from da.observation.encoded import code_variance, latent_innovation, noisy_readings, scale_at, standardised
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF


def made(centred):
    problem = make_latent_problem(COMM, Linear(tsvd_basis()))
    codes = problem.decoder.encode(problem.anomalies)
    modes = latent_modes(codes, COMM, centred=centred)
    problem.background = 0.7 * problem.anomalies[:, 3] if centred else None
    problem.transform = decoded_transform(problem.decoder, modes, problem.background)
    return problem


def encoded(problem, operator, std, readings):
    """Weighted least squares, the best f° there is for a linear decoder, and the covariance of its errors."""
    basis = tsvd_basis() * problem.scale[:, None]
    seen = np.array([operator.observe(column) for column in basis.T]).T / std[:, None]
    inverse = np.linalg.inv(seen.T @ seen)
    return inverse @ seen.T @ (readings * scale_at(operator, problem.scale) / std), inverse


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_with_the_factors_of_tsvd_and_a_perfect_encoder_it_is_tsvd(centred, sparse):
    problem = made(centred)
    if sparse:
        operator, std, d = problem.problem.operator, problem.problem.std, problem.problem.innovation
    else:  # Mack et al. 2020
        operator, std = selection(np.arange(N), N, COMM), np.sqrt(0.05) * problem.scale
        d = problem.scale * vector(seed=1)
    columns = standardised(operator, problem.scale, d, problem.background).T
    codes, (variance, *_) = zip(*(encoded(problem, operator, std, column) for column in columns), strict=True)
    code = latent_innovation(np.stack(codes, axis=1))
    if not sparse:
        np.testing.assert_allclose(variance, 0.05 * np.eye(6), atol=1e-12)
        variance = 0.05
    found = observation_encoded(problem.transform, code, COMM, latent_variance=variance)
    expected = analyse(problem.problem.transform, operator, diagonal_error(std, slice(None)), d, COMM)
    assert relative_difference(found.increment, expected.increment) < 1e-8


def test_readings_in_standard_deviations():
    problem = make_latent_problem(COMM, Linear(tsvd_basis())).problem
    operator, scale = problem.operator, problem.transform.scale
    mean, state = 3.0 * scale, scale * vector(seed=2)
    d = problem.innovation
    value = operator.observe(state) + d
    found = standardised(operator, scale, d, state - mean)
    for column, of in zip(found.T, (value, value - d), strict=True):
        np.testing.assert_allclose(column, (of - operator.observe(mean)) / operator.observe(scale), atol=1e-12)
    np.testing.assert_allclose(standardised(operator, scale, d)[:, 0], d / operator.observe(scale))


def test_a_sensor_among_values_without_a_scale_tells_nothing():
    problem = make_latent_problem(COMM, Linear(tsvd_basis())).problem
    scale = problem.transform.scale.copy()
    scale[problem.index[3]] = 0.0
    found = standardised(problem.operator, scale, problem.innovation)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found[:, 0])), [3])


def noise(error, number, count):
    """Errors of readings in units of R."""
    problem = make_latent_problem(COMM, Linear(tsvd_basis())).problem
    scale = problem.transform.scale
    found = noisy_readings(problem.operator, error, scale, np.zeros((N, count)), number)
    return error.whiten(found * scale_at(problem.operator, scale)[:, None])


@pytest.mark.parametrize("correlated", [False, True])
def test_noise_has_the_covariance_of_r(correlated):
    problem = make_latent_problem(COMM, Linear(tsvd_basis())).problem
    error = problem.error
    if correlated:
        error = correlated_error(problem.std, *places(problem.index), 3.0, slice(0, 40), COMM)
    found = noise(error, np.arange(40), 4000)
    assert np.abs(found @ found.T / 4000 - np.eye(40)).max() < 0.1


def test_noise_is_that_of_a_rows_number():
    error = make_latent_problem(COMM, Linear(tsvd_basis())).problem.error
    found, turned = noise(error, np.arange(40), 3), noise(error, np.arange(40)[::-1], 3)
    np.testing.assert_allclose(turned[::-1], found)


def test_variance_of_codes():
    codes = np.random.default_rng(0).normal(size=(5, 2000))
    off = codes + np.array([0.1, 0.2, 0.3, 0.4, 0.0])[:, None] * np.random.default_rng(1).normal(size=(5, 2000))
    found = code_variance(off, codes)
    np.testing.assert_allclose(found[:4], [0.01, 0.04, 0.09, 0.16], rtol=0.1)
    assert 0.0 < found[4] < 1e-4
