"""The types that every analysis of an ensemble takes."""

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI

from da.ensemble.ensemble import Ensemble, EnsembleReadings, anomalies_of, mean_of
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF
M, MEMBERS = 3, 5


@pytest.fixture
def readings():
    rng = np.random.default_rng(1)
    return EnsembleReadings(
        rng.normal(size=M),
        anomalies_of(rng.normal(size=(M, MEMBERS))),
        diagonal_error(np.array([1.0, 2.0, 0.5]), slice(0, M)),
        rng.normal(size=(M, 3)),
        np.full(M, "Tracer"),
    )


def test_members_are_mean_and_anomalies():
    state = np.random.default_rng(2).normal(size=(7, MEMBERS))
    ensemble = Ensemble(state, np.empty((0, MEMBERS)), COMM)
    assert ensemble.n_members == MEMBERS
    np.testing.assert_allclose(ensemble.mean[:, None] + ensemble.anomalies, state, rtol=1e-15)
    np.testing.assert_allclose(ensemble.anomalies.sum(axis=1), 0.0, atol=1e-14)
    np.testing.assert_array_equal(mean_of(state), ensemble.mean)


@pytest.mark.parametrize("state, parameters", [((4, 3), (2, 4)), ((4,), (2, 4)), ((4, 3), (3,))])
def test_states_and_parameters_must_fit(state, parameters):
    with pytest.raises(ValueError, match=r"expected \(n, N\) and \(P, N\)"):
        Ensemble(np.zeros(state), np.zeros(parameters), COMM)


def test_one_member_is_no_ensemble():
    with pytest.raises(ValueError, match="two or more"):
        Ensemble(np.zeros((4, 1)), np.zeros((0, 1)), COMM)


def test_readings_are_whitened_by_their_errors(readings):
    innovation, anomalies = readings.whitened()
    np.testing.assert_allclose(innovation, readings.innovation / [1.0, 2.0, 0.5])
    np.testing.assert_allclose(anomalies, readings.anomalies / np.array([[1.0], [2.0], [0.5]]))
    matrix = np.array([[1.0, 0.3, 0.0], [0.3, 2.0, 0.0], [0.0, 0.0, 0.5]])
    correlated = replace(readings, error=given_error(matrix, slice(0, M), COMM))
    _, anomalies = correlated.whitened()
    np.testing.assert_allclose(
        anomalies.T @ anomalies, readings.anomalies.T @ np.linalg.solve(matrix, readings.anomalies), rtol=1e-12
    )


@pytest.mark.parametrize(
    "name, value",
    [
        ("anomalies", np.zeros((M + 1, MEMBERS))),
        ("error", diagonal_error(np.ones(M + 1), slice(0, M + 1))),
        ("place", np.zeros((M, 2))),
        ("field", np.full(M - 1, "Tracer")),
    ],
)
def test_a_row_for_each_reading(readings, name, value):
    with pytest.raises(ValueError, match=f"{name} of {M} readings has shape"):
        replace(readings, **{name: value})


def test_anomalies_have_a_column_for_each_member(readings):
    with pytest.raises(ValueError, match="two members or more"):
        replace(readings, anomalies=np.zeros(M))


@pytest.mark.parametrize("name", ["innovation", "anomalies"])
def test_values_are_finite(readings, name):
    values = getattr(readings, name).copy()
    values[1] = np.nan
    with pytest.raises(ValueError, match=f"{name} of reading 1 is not finite"):
        replace(readings, **{name: values})
    assert len(readings) == M
