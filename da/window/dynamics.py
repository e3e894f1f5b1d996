"""What an analysis over a window asks of a forecast of codes, and the root of its noise covariance."""

from typing import Protocol

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0


class CodeDynamics(Protocol):
    """F: the code of a state → that of the state a time step later, with its derivatives.

    Each rank computes all of it, so F must give the same numbers on all of them. `models.dynamics` has such models.
    """

    def step(self, codes: np.ndarray) -> np.ndarray:
        """F(z): (m,) → (m,)."""

    def tangent(self, direction: np.ndarray, at: np.ndarray) -> np.ndarray:
        """F'(z) p: (m,) → (m,); `at` is z."""

    def adjoint(self, sensitivity: np.ndarray, at: np.ndarray) -> np.ndarray:
        """F'(z)ᵀ q: (m,) → (m,); `at` is z."""


def noise_root(covariance: np.ndarray, comm: MPI.Comm) -> np.ndarray:
    """L with L Lᵀ = Q, a column for each direction that has noise. Collective.

    Parameters
    ----------
    covariance : (m, m) Q of the forecast's errors in a step; it may be singular
    comm : MPI communicator

    Returns
    -------
    (m, q), the same on every rank; q is the rank of Q

    Raises
    ------
    ValueError
        on every rank, if Q is not a finite symmetric matrix, has a negative eigenvalue or is zero
    """
    return on_rank_0(lambda: _root(np.asarray(covariance, dtype=np.float64)), comm)


def _root(covariance: np.ndarray) -> np.ndarray:
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or not np.isfinite(covariance).all():
        raise ValueError(f"noise covariance of shape {covariance.shape}, expected a square matrix of finite numbers")
    rounding = len(covariance) * np.finfo(np.float64).eps * np.abs(covariance).max()
    if np.abs(covariance - covariance.T).max() > rounding:
        raise ValueError("noise covariance is not symmetric; give that of the forecast's errors")
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -rounding:
        raise ValueError(f"noise covariance has an eigenvalue of {values[0]:.3g}, expected none below zero")
    kept = values > rounding
    if not kept.any():
        raise ValueError("noise covariance is zero; a model without errors is the strong constraint: give no noise")
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
