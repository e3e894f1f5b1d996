"""A linear inverse model: z_{t+1} = c + A (z_t − c) + ε, with the covariance of ε.

It is the least-squares fit to pairs of successive codes, with a ridge, and the baseline for any other learned dynamics.

Penland & Magorian 1993, Prediction of Niño 3 sea surface temperatures using linear inverse modeling,
    https://doi.org/10.1175/1520-0442(1993)006<1067:PONSST>2.0.CO;2
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve


@dataclass(frozen=True)
class LinearDynamics:
    """A and what belongs to it.

    matrix : (m, m) A
    centre : (m,) c, the mean of the codes before and after
    noise : (m, m) covariance of ε, that of the residuals
    """

    matrix: np.ndarray
    centre: np.ndarray
    noise: np.ndarray

    def step(self, codes: np.ndarray) -> np.ndarray:
        """Codes a time step later: (m,) or (m, k) → the same."""
        centre = self.centre.reshape(-1, *(1,) * (codes.ndim - 1))
        return np.asarray(centre + self.matrix @ (codes - centre))

    def tangent(self, direction: np.ndarray, at: np.ndarray) -> np.ndarray:
        """A p, wherever it is taken: (m,) → (m,)."""
        return np.asarray(self.matrix @ direction)

    def adjoint(self, sensitivity: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Aᵀ q, wherever it is taken: (m,) → (m,)."""
        return np.asarray(self.matrix.T @ sensitivity)


def linear_dynamics(before: np.ndarray, after: np.ndarray, ridge: float = 0.0) -> LinearDynamics:
    """The fit to pairs of codes.

    Parameters
    ----------
    before, after : (m, P) codes of pairs of states, a time step apart
    ridge : added to the codes' covariance, times its mean variance

    Returns
    -------
    LinearDynamics

    Raises
    ------
    ValueError
        if the two do not fit each other, there are fewer than two pairs, the ridge is negative, or codes are so many
        that they need a ridge and have none
    """
    if before.ndim != 2 or before.shape != after.shape or before.shape[1] < 2:
        raise ValueError(f"codes of shapes {before.shape} and {after.shape}, expected the same (numbers, pairs ≥ 2)")
    if not ridge >= 0.0:
        raise ValueError(f"ridge {ridge}, expected zero or more")
    centre = 0.5 * (before.mean(axis=1) + after.mean(axis=1))
    early, late = before - centre[:, None], after - centre[:, None]
    n_pairs = before.shape[1]
    covariance = early @ early.T / n_pairs
    covariance[np.diag_indices_from(covariance)] += ridge * np.trace(covariance) / len(covariance)
    try:
        matrix = cho_solve(cho_factor(covariance, lower=True), early @ late.T / n_pairs).T
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{len(before)} numbers of a code from {n_pairs} pairs: their covariance is singular; give a ridge"
        ) from None
    residual = late - matrix @ early
    return LinearDynamics(np.asarray(matrix), centre, residual @ residual.T / n_pairs)
