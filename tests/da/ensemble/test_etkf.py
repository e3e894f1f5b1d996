"""The ensemble transform Kalman filter beside the Kalman filter that it stands for."""

import numpy as np
import pytest
from ensemble_problem import N, kalman, make_ensemble
from mpi4py import MPI

from da.ensemble.ensemble import anomalies_of, mean_of
from da.ensemble.etkf import etkf

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("members", [8, N + 10])
@pytest.mark.parametrize("correlated", [False, True])
def test_mean_and_covariance_are_the_kalman_filters(members, correlated):
    """Also with fewer members than values, where B is the sample covariance; with more of them it has full rank."""
    problem = make_ensemble(members=members, correlated=correlated)
    posterior = etkf(problem.readings, COMM).state(problem.state)
    mean, covariance = kalman(problem, problem.state)
    anomalies = anomalies_of(posterior)
    np.testing.assert_allclose(mean_of(posterior), mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(anomalies @ anomalies.T / (members - 1), covariance, rtol=0, atol=1e-10)


def test_parameters_are_analysed_as_if_they_were_part_of_the_state():
    problem = make_ensemble()
    update = etkf(problem.readings, COMM)
    augmented = np.concatenate([problem.state, problem.ensemble.parameters])
    np.testing.assert_allclose(
        update.parameters(problem.ensemble.parameters), update.state(augmented)[N:], rtol=1e-13, atol=1e-14
    )
    mean, _ = kalman(problem, problem.ensemble.parameters)
    np.testing.assert_allclose(mean_of(update.parameters(problem.ensemble.parameters)), mean, atol=1e-12)


def test_figures_are_those_of_the_gain():
    problem = make_ensemble(correlated=True)
    found = etkf(problem.readings, COMM).summary()
    observed = problem.readings.anomalies / np.sqrt(7)
    gain = observed @ observed.T @ np.linalg.inv(observed @ observed.T + problem.covariance)
    residual = problem.readings.innovation - gain @ problem.readings.innovation
    assert found["degrees_of_freedom"] == pytest.approx(np.trace(gain), rel=1e-12)
    expected = residual @ np.linalg.solve(problem.covariance, residual) / len(residual)
    assert found["chi_squared"] == pytest.approx(expected, rel=1e-11)


def test_no_readings_have_no_figures():
    problem = make_ensemble(n_readings=0)
    assert etkf(problem.readings, COMM).summary() == {
        "method": "etkf", "members": 8, "readings": 0, "chi_squared": None, "degrees_of_freedom": 0.0
    }  # fmt: skip
