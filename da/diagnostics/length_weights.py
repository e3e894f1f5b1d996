"""Weights of localisation lengths by how well analyses with each predict readings that were left out.

No one length suits all days: a forecast that has run long is wrong in large patterns, one that was corrected a moment
ago in small ones. For each length k of a ladder, with T_k ∘ H B Hᵀ in the place of H B Hᵀ, the analysis without a
reading and its neighbours misses it by e (:mod:`da.diagnostics.left_out`). The loss of a length is
Σ e² / (σ_b² + σ_o²), that of no increment at all Σ d² / (σ_b² + σ_o²). Losses are summed over windows with a fading
memory, and weights fall with them,

    w_k ∝ exp(−η l_k)

(aggregation by exponential weights, Leung & Barron 2006; Dalalyan & Tsybakov 2008). With the few readings of a window
the length of least loss is mostly chosen by chance; the mean over lengths that the readings do not rule out is not.
"""

from dataclasses import dataclass

import numpy as np

from da.background.localisation import Ladder
from da.diagnostics.left_out import left_out_innovation, neighbourhoods
from da.observation.correlation import gaspari_cohn

_LEAST = 1e-6  # weight: without any the analysis would have no control


@dataclass(frozen=True)
class LengthRule:
    """Which lengths are weighed, and how.

    lengths : (K,) across the vertical [m], np.inf among them
    aspect : length along the vertical over that across
    memory : m, windows over which losses fade, their weights falling by 1 − 1/m; 1 for the last window's alone
    near : readings nearer than this to each other are left out together [m]
    rate : η. Readings share their errors of representativeness, and forecasts theirs from window to window, so that the
        losses count less than those of independent normal departures, whose η would be one half
    """

    lengths: np.ndarray
    aspect: float
    memory: float
    near: float
    rate: float = 0.25

    def joined(self, before: np.ndarray | None, now: np.ndarray) -> np.ndarray:
        """(K + 1,) losses with those of the windows before."""
        return now if before is None else (1.0 - 1.0 / self.memory) * before + now

    def weights(self, losses: np.ndarray | None) -> np.ndarray:
        """(K,) weights of the lengths; what is missing to one is that of no increment. None: all are alike."""
        if losses is None:
            losses = np.zeros(len(self.lengths) + 1)
        weights = np.maximum(np.exp(-self.rate * (losses - losses.min())), _LEAST)
        return weights[:-1] / weights.sum()


def left_out_losses(
    observed: np.ndarray, position: np.ndarray, innovation: np.ndarray, error: np.ndarray, rule: LengthRule
) -> np.ndarray:
    """(K + 1,) losses of the lengths and of no increment, from readings of one field.

    Parameters
    ----------
    observed : (M, s) H U, in the readings' units
    position : (M, 3) of the readings [m]
    innovation, error : (M,) d and σ_o, in the readings' units
    rule : LengthRule

    Cost: some 2 M³ FLOPs for each length
    """
    covariance, r = observed @ observed.T, error**2
    variance = np.diag(covariance) + r
    near = neighbourhoods(position, rule.near)
    # Ladder's distances, which it has for its own variables
    distance = Ladder(rule.lengths, rule.aspect, np.zeros((len(rule.lengths), 1))).distances(position, position)
    losses = []
    for length in rule.lengths:
        inverse = np.linalg.inv(gaspari_cohn(distance / length) * covariance + np.diag(r))
        departure = left_out_innovation(inverse, innovation, near)
        losses.append(float(np.sum(departure**2 / variance)))
    return np.array([*losses, float(np.sum(innovation**2 / variance))])
