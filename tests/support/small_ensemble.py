"""A small ensemble and its readings, the same for any number of ranks; its taper and static modes."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from small_problem import N_OBSERVED, N, make_problem, places, rows_of, whole_snapshots

from da.background.localisation import Taper
from da.ensemble.ensemble import Ensemble, EnsembleReadings, anomalies_of
from da.ensemble.hybrid import StaticErrors
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error

N_MEMBERS, N_PARAMETERS = 10, 3


@dataclass(frozen=True)
class SmallEnsemble:
    """members : (N, N_MEMBERS) whole; index, matrix : values read and R; taper : of this rank's rows."""

    ensemble: Ensemble
    members: np.ndarray
    readings: EnsembleReadings
    index: np.ndarray
    matrix: np.ndarray
    taper: Taper
    variable: np.ndarray
    static: StaticErrors
    rows: slice

    @property
    def scaled(self):
        """(N, N_MEMBERS) X, anomalies over √(N_MEMBERS − 1)."""
        return anomalies_of(self.members) / np.sqrt(N_MEMBERS - 1)


def make_ensemble(comm, shares=None, correlated=False, n_observed=N_OBSERVED, length=4.0):
    """The ensemble with its rows split over a communicator."""
    rng = np.random.default_rng(5)
    problem, rows = make_problem(comm, "tsvd", 8, shares), rows_of(comm, shares)
    snapshots = whole_snapshots()
    members = snapshots[:, :N_MEMBERS] + rng.normal(size=(N, N_MEMBERS)) * np.resize([0.3, 20.0], N)[:, None]
    index = problem.index[:n_observed]
    std, innovation = problem.std[:n_observed], problem.innovation[:n_observed]
    near = 0.3 ** np.abs(np.arange(n_observed)[:, None] - np.arange(n_observed)) if correlated else np.eye(n_observed)
    matrix = std[:, None] * near * std
    error = given_error(matrix, slice(0, n_observed), MPI.COMM_SELF) if correlated else diagonal_error(std, slice(None))
    place, variable = places(index)
    field = np.array(["speed", "tracer"])[variable]
    position, of = (part[rows] for part in places(np.arange(N)))
    taper = Taper(position, of, np.full(2, length), np.full(2, np.inf), np.array([[1.0, 0.5], [0.5, 1.0]]))
    parameters = rng.normal(size=(N_PARAMETERS, N_MEMBERS))
    observed = np.concatenate(comm.allgather(problem.transform.operator_product(problem.operator)))[:n_observed]
    return SmallEnsemble(
        Ensemble(members[rows], parameters, comm),
        members,
        EnsembleReadings(innovation, anomalies_of(members[index]), error, place, field),
        index,
        matrix,
        taper,
        variable,
        StaticErrors(problem.transform, observed),
        rows,
    )
