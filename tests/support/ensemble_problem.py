"""A small ensemble with its readings, made over any number of ranks, and the Kalman filter that it stands for."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from da.ensemble.ensemble import Ensemble, EnsembleReadings, anomalies_of, mean_of
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error

POINTS, FIELDS = (6, 5, 3), ("Tracer", "Velocity.x")
N = int(np.prod(POINTS)) * len(FIELDS)
M = 7


@dataclass(frozen=True)
class EnsembleProblem:
    """Members on a grid of two fields, and readings of them.

    ensemble : Ensemble of this rank's rows
    readings : EnsembleReadings, complete
    rows : slice of this rank's rows
    state : (n, N) of all ranks
    operator : (M, n) H
    covariance : (M, M) R
    position, variable : (n, 3) [m] and (n,) numbers of FIELDS, of all rows
    """

    ensemble: Ensemble
    readings: EnsembleReadings
    rows: slice
    state: np.ndarray
    operator: np.ndarray
    covariance: np.ndarray
    position: np.ndarray
    variable: np.ndarray


def rows_over(n, comm):
    """This rank's run of n rows: unlike shares, and none for the second of three."""
    shares = {1: [1], 2: [1, 3], 3: [2, 0, 1]}[comm.size]
    cut = np.round(np.concatenate([[0], np.cumsum(shares) / np.sum(shares)]) * n).astype(int)
    return slice(int(cut[comm.rank]), int(cut[comm.rank + 1]))


def make_ensemble(comm=MPI.COMM_SELF, members=8, n_readings=M, correlated=False, seed=1, std=0.5, n_parameters=2):
    """EnsembleProblem with readings at nodes, of both fields."""
    rng = np.random.default_rng(seed)
    position = np.repeat(np.stack(np.unravel_index(np.arange(N // 2), POINTS), axis=1) * [10.0, 10.0, 4.0], 2, axis=0)
    variable = np.arange(N) % 2
    drawn = rng.normal(size=(N + n_parameters, max(members, N + n_parameters + 5)))[:, :members]
    state, parameters = drawn[:N] + position[:, :1] / 50.0, drawn[N:]
    at = np.sort(rng.choice(N, n_readings, replace=False))
    operator = np.eye(N)[at]
    covariance = std**2 * np.diag(0.5 + rng.random(n_readings))
    if correlated:
        apart = np.abs(np.arange(n_readings)[:, None] - np.arange(n_readings))
        spread = np.sqrt(np.diag(covariance))
        covariance = spread[:, None] * 0.6**apart * spread
    observed = operator @ state
    everything = slice(0, n_readings)
    readings = EnsembleReadings(
        rng.normal(size=n_readings),
        anomalies_of(observed),
        given_error(covariance, everything, MPI.COMM_SELF)
        if correlated
        else diagonal_error(np.sqrt(np.diag(covariance)), everything),
        position[at],
        np.array(FIELDS)[variable[at]],
    )
    rows = rows_over(N, comm)
    ensemble = Ensemble(state[rows], parameters, comm)
    return EnsembleProblem(ensemble, readings, rows, state, operator, covariance, position, variable)


def kalman(problem, members):
    """Mean and covariance (n, n) after the Kalman filter's analysis, with the members' sample covariance as B."""
    anomalies = anomalies_of(members) / np.sqrt(members.shape[1] - 1)
    observed = problem.readings.anomalies / np.sqrt(members.shape[1] - 1)
    gain = anomalies @ observed.T @ np.linalg.inv(observed @ observed.T + problem.covariance)
    mean = mean_of(members) + gain @ problem.readings.innovation
    return mean, anomalies @ anomalies.T - gain @ observed @ anomalies.T
