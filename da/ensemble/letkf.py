"""The local ensemble transform Kalman filter: each place by itself, with the readings in its reach.

Hunt, Kostelich & Szunyogh 2007, Efficient data assimilation for spatiotemporal chaos: a local ensemble transform Kalman
filter. At each site the ETKF with R⁻¹ tapered by distance (`da.ensemble.reach`). Sites are independent, so ranks do not
communicate; on a rank they are taken block by block, without a loop over them. For m readings in reach, a site costs

    FLOPs   2 m N² for A = I + Σ ρ_i s_i s_iᵀ, some 40 N³ for A^{-1/2}, and 2 N² for each of its rows
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.ensemble.ensemble import EnsembleReadings
from da.ensemble.etkf import TransformUpdate, etkf
from da.ensemble.reach import Block, Reach, blocks_of
from da.ensemble.square_root import inverse_roots, transform_of

_LARGEST = 1e6  # eigenvalue to which products of matrices keep ten digits; beyond, singular values do
_READINGS = 128  # whose outer products are made at once


@dataclass(frozen=True)
class LocalUpdate:
    """Weights for each site, computed when they are needed.

    whole : TransformUpdate by all readings, of the parameters
    blocks : of this rank's sites in reach of a reading
    n_rows : n_local
    innovation : (M,) whitened
    anomalies : (M, N) S, whitened and divided by √(N − 1)
    place : (M, 3) of the readings [m]
    figures : for the ledger
    """

    whole: TransformUpdate
    blocks: tuple[Block, ...]
    n_rows: int
    innovation: np.ndarray
    anomalies: np.ndarray
    place: np.ndarray
    figures: dict[str, Any]

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis: (n_local, N) → (n_local, N), the rows of `Reach`, of whatever time.

        Rows that no reading reaches keep their bits.
        """
        if np.shape(prior) != (self.n_rows, self.anomalies.shape[1]):
            raise ValueError(
                f"members of shape {np.shape(prior)}, expected ({self.n_rows}, {self.anomalies.shape[1]}): the rows "
                "that the local analysis was made for"
            )
        posterior = np.array(prior, dtype=np.float64)
        for block in self.blocks:
            members = posterior[block.rows]
            mean = members.mean(axis=2, keepdims=True)
            members -= mean
            posterior[block.rows] = mean + members @ self._weights(block)
        return posterior

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis by all readings alike: (P, N) → (P, N)."""
        return self.whole.parameters(prior)

    def summary(self) -> dict[str, Any]:
        """For the ledger."""
        return dict(self.figures)

    def _weights(self, block: Block) -> np.ndarray:
        """(k, N, N) what the anomalies of each site are multiplied by: those of the mean in every column."""
        n = self.anomalies.shape[1]
        taper, s, d = block.weights(self.place), self.anomalies[block.near], self.innovation[block.near]
        matrices: Any = 0.0
        for first in range(0, len(s), _READINGS):
            some = slice(first, first + _READINGS)
            matrices = matrices + taper[:, some] @ (s[some, :, None] * s[some, None, :]).reshape(-1, n * n)
        # the Frobenius norm bounds the largest eigenvalue
        largest = 1.0 + float(np.sqrt(np.max(np.einsum("ij,ij->i", matrices, matrices))))
        if largest > _LARGEST:
            root_taper = np.sqrt(taper)
            mean, root, _ = transform_of(root_taper[:, :, None] * s, root_taper * d)
        else:
            matrices[:, :: n + 1] += 1.0
            root = inverse_roots(matrices.reshape(-1, n, n), largest)
            mean = (root @ (root @ (taper @ (d[:, None] * s))[:, :, None]))[:, :, 0]
        return root + mean[:, :, None] / np.sqrt(n - 1)


def letkf(readings: EnsembleReadings, reach: Reach, comm: MPI.Comm) -> LocalUpdate:
    """The update of each row by the readings in its reach. Collective.

    Parameters
    ----------
    readings : EnsembleReadings with independent errors
    reach : Reach of this rank's rows
    comm : MPI communicator

    Returns
    -------
    LocalUpdate; its summary has the numbers of rows in all and in reach of a reading, and the mean number of readings
    that reach a site

    Raises
    ------
    ValueError
        on every rank, if errors of readings are correlated, or the factors of `reach` are of other readings
    """
    problem = None
    if len(readings.error.blocks):
        problem = (
            "errors of readings are correlated, which a local analysis does not know: it tapers each reading's own "
            "error. Take etkf or 4denvar, or independent errors"
        )
    elif reach.between is not None and np.shape(reach.between)[1] != len(readings):
        problem = f"factors of {np.shape(reach.between)[1]} readings, expected {len(readings)}"
    refuse_together(problem, comm)
    innovation, anomalies = readings.whitened()
    blocks = tuple(blocks_of(reach, readings.place))
    reached = [len(np.unique(block.rows)) for block in blocks]
    sites = [(len(block.reached_by), np.sum(block.reached_by)) for block in blocks]
    local = np.array([len(reach.variable), sum(reached), *np.sum(np.reshape(sites, (-1, 2)), axis=0)], dtype=np.int64)
    rows, rows_reached, n_sites, near = map(int, comm.allreduce(local))
    whole = etkf(readings, comm)
    figures = {
        "method": "letkf",
        "members": readings.n_members,
        "readings": len(readings),
        "rows": rows,
        "rows_reached": rows_reached,
        "readings_in_reach": near / n_sites if n_sites else 0.0,
    }
    scaled = anomalies / np.sqrt(readings.n_members - 1)
    return LocalUpdate(whole, blocks, len(reach.variable), innovation, scaled, np.asarray(readings.place), figures)
