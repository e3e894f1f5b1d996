"""How parameters change between windows, and how their spread is kept: functions of (P, N) unbounded values.

A parameter without readings of its own is constrained a little more in each window. If what it stands for changes, or
the analysis is too sure of itself, its members must be driven apart again:

    random walk     z ← z + s ξ
    AR(1)           z ← φ z + r √(1 − φ²) ξ,   φ = exp(−window / time)

ξ is standard normal, z standard normal under the prior: s and r are in standard deviations of the prior. A random walk
keeps the mean and lets the spread grow by s² for each window; AR(1) leads mean and spread back to 0 and r within some
`time`, so that without readings the members are the prior's again (r = 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from da.ensemble.prior import square_root


@dataclass(frozen=True)
class Wander:
    """z ← memory z + step ξ, for one parameter from one window to the next. ValueError if one is out of range."""

    memory: float = 1.0
    step: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.memory <= 1.0 or not 0.0 <= self.step < np.inf:
            raise ValueError(f"memory {self.memory:g}, step {self.step:g}: expected 0 ≤ memory ≤ 1 and step ≥ 0")


STAYS = Wander()


def random_walk(step: float) -> Wander:
    """A walk whose steps have this standard deviation, in those of the prior, for each window."""
    return Wander(1.0, step)


def first_order(time: float, window: float, spread: float = 1.0) -> Wander:
    """AR(1) with this correlation time [s] and stationary spread, from one window [s] to the next.

    ValueError unless all are above zero
    """
    for name, value in (("time", time), ("window", window), ("spread", spread)):
        if not 0.0 < value < np.inf:
            raise ValueError(f"AR(1): {name} is {value:g}, expected a number above zero")
    memory = float(np.exp(-window / time))
    return Wander(memory, spread * float(np.sqrt(1.0 - memory**2)))


def wandered(
    unbounded: np.ndarray, wanders: Sequence[Wander], correlation: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Parameters of the next window: (P, N) → (P, N).

    The members' steps have mean zero and the variance asked for exactly, and no correlation with the anomalies that are
    there where N allows that, so that few members wander no farther than many (Pham 2001, Stochastic methods for
    sequential data assimilation in strongly nonlinear systems, second-order exact sampling).

    Parameters
    ----------
    unbounded : (P, N)
    wanders : one for each parameter
    correlation : (P, P) of the steps, ones on its diagonal
    rng : numpy's generator; the same seed gives the same values
    """
    memory = np.array([of.memory for of in wanders])[:, None]
    steps = np.array([of.step for of in wanders])[:, None]
    noise = rng.standard_normal(np.shape(unbounded))  # drawn even where none is used: each window has its own seed
    if not steps.any():
        return memory * unbounded if (memory < 1.0).any() else np.array(unbounded)
    noise = square_root(correlation) @ _exact(noise, unbounded)
    return memory * unbounded + steps * noise


def _exact(noise: np.ndarray, unbounded: np.ndarray) -> np.ndarray:
    """Noise whose sample has mean 0, variance 1, and covariance 0 with the anomalies, as far as N members can."""
    n_parameters, n = noise.shape
    known = np.concatenate([np.ones((1, n)), unbounded - unbounded.mean(axis=1, keepdims=True)])
    if n > 2 * n_parameters + 1:
        directions = _orthonormal_rows(known)
        noise = noise - (noise @ directions.T) @ directions
        # uncorrelated with each other, too
        noise = np.sqrt(n - 1.0) * _nearest_orthonormal(noise)
    else:
        noise = noise - noise.mean(axis=1, keepdims=True)
        noise = noise / noise.std(axis=1, ddof=1, keepdims=True)
    return noise


def _orthonormal_rows(rows: np.ndarray) -> np.ndarray:
    _, scale, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[scale > 1e-10 * scale[0]]


def _nearest_orthonormal(rows: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(rows, full_matrices=False)
    return left @ right


def kept_apart(unbounded: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Parameters whose spread has a floor: (P, N) → (P, N).

    Where the standard deviation (of N − 1) of a parameter is below its floor, its anomalies are scaled up to it; mean
    and correlations stay (the conditional covariance inflation of Aksoy, Zhang & Nielsen-Gammon 2006, Ensemble-based
    simultaneous state and parameter estimation in a two-dimensional sea-breeze model).

    floor : (P,) in standard deviations of the prior; zero for none
    """
    mean = unbounded.mean(axis=1, keepdims=True)
    anomalies = unbounded - mean
    spread = anomalies.std(axis=1, ddof=1, keepdims=True)
    floor = np.asarray(floor, dtype=np.float64)[:, None]
    factors = np.divide(floor, spread, out=np.ones_like(spread), where=(spread < floor) & (spread > 0.0))
    return mean + factors * anomalies
