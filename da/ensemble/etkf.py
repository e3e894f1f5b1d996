"""The ensemble transform Kalman filter, with the symmetric square root.

Bishop, Etherton & Majumdar 2001, Adaptive sampling with the ensemble transform Kalman filter; Hunt, Kostelich &
Szunyogh 2007, Efficient data assimilation for spatiotemporal chaos. With Y the anomalies at the readings, X those of
the state, and S = R^{-1/2} Y / √(N − 1)

    x̄_a = x̄ + X w,   w = A⁻¹ Sᵀ R^{-1/2} d / √(N − 1),   X_a = X A^{-1/2},   A = I + SᵀS

An analysis costs a singular value decomposition of M × N numbers, and 2 n N² FLOPs over the ranks. R may be correlated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from da.ensemble.ensemble import EnsembleReadings, anomalies_of
from da.ensemble.square_root import transform_of


@dataclass(frozen=True)
class TransformUpdate:
    """The same weights for all rows.

    mean : (N,) w, weights of the anomalies in the change of the mean
    root : (N, N) what anomalies are multiplied by
    figures : for the ledger
    """

    mean: np.ndarray
    root: np.ndarray
    figures: dict[str, Any]

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis: (n_local, N) → (n_local, N), for rows of any place and time."""
        if self.figures["readings"] == 0:
            return np.array(prior, dtype=np.float64)
        mean = np.mean(prior, axis=1, keepdims=True)
        return mean + anomalies_of(prior) @ (self.mean[:, None] + self.root)

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis: (P, N) → (P, N)."""
        return self.state(prior)

    def summary(self) -> dict[str, Any]:
        """For the ledger."""
        return dict(self.figures)


def etkf(readings: EnsembleReadings, comm: MPI.Comm) -> TransformUpdate:
    """The update of all members by all readings. Collective.

    Parameters
    ----------
    readings : EnsembleReadings
    comm : MPI communicator; the weights are made on its rank 0, so that all ranks have the same bits

    Returns
    -------
    TransformUpdate; its summary has the number of readings, χ² of the mean's residual by reading and the degrees of
    freedom for signal, tr SᵀS A⁻¹
    """
    innovation, anomalies = readings.whitened()
    scaled = anomalies / np.sqrt(readings.n_members - 1)
    mean, root, singular = on_rank_0(lambda: transform_of(scaled, innovation), comm)
    residual = innovation - scaled @ mean
    figures = {
        "method": "etkf",
        "members": readings.n_members,
        "readings": len(readings),
        "chi_squared": float(residual @ residual) / len(readings) if len(readings) else None,
        "degrees_of_freedom": float(np.sum(singular**2 / (1.0 + singular**2))),
    }
    return TransformUpdate(mean / np.sqrt(readings.n_members - 1), root, figures)
