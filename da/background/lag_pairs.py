"""Which snapshots are a given time apart: samples of how earlier states go with the present one.

Of snapshots x(t_i) of one run, those with x(t_i − Δ_1), …, x(t_i − Δ_L) beside them are samples of
(x(t), x(t − Δ_1), …, x(t − Δ_L)); their covariance is that of a state with the states before it. Snapshots of two runs
are never a pair. A state some time ago says less than one of now, and a sample overstates it: covariances over a
difference of time δ are multiplied by exp(−δ²/2T²), which leaves them a covariance (Schur's theorem).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SAME = 1e-3  # times this near, in the smallest distance of snapshots, are the same


@dataclass(frozen=True)
class LagPairs:
    """Samples of a state and those before it.

    lags : (L,) Δ [s], rising, a negative one of a state that comes after; the state itself, at lag zero, is not among
        them
    numbers : (L + 1, P) of snapshots: the first row the present ones, below each those of its lags
    """

    lags: np.ndarray
    numbers: np.ndarray

    @property
    def n_pairs(self) -> int:
        """P, number of samples."""
        return self.numbers.shape[1]


def lag_pairs(times: np.ndarray, lags: Sequence[float] | np.ndarray, run: np.ndarray | None = None) -> LagPairs:
    """The snapshots that have others of their run by all the lags before them.

    Parameters
    ----------
    times : (S,) of the snapshots [s]
    lags : Δ [s], none zero or twice, negative for snapshots that come after; none gives each snapshot alone
    run : (S,) label of the run each is of; None where all are of one

    Raises
    ------
    ValueError
        if a lag is zero, not finite or there twice, or fewer than two snapshots have others by all the lags;
        the message says by how much the snapshots are apart
    """
    times, asked = np.asarray(times, np.float64), np.sort(np.asarray(lags, np.float64))
    if not (np.isfinite(asked).all() and asked.all() and np.all(np.diff(asked) > 0.0)):
        raise ValueError(f"lags {_listed(asked)} s, expected finite ones, none of them zero or twice")
    label = np.zeros(len(times), int) if run is None else np.unique(run, return_inverse=True)[1]
    order = np.lexsort((times, label))
    by_run = [order[label[order] == one] for one in np.unique(label)]
    steps = np.concatenate([np.empty(0), *(np.diff(times[own]) for own in by_run)])
    slack = _SAME * float(np.min(steps[steps > 0.0], initial=np.inf)) if np.any(steps > 0.0) else 0.0
    kept = []
    for own in by_run:
        rows = [own] + [_those_at(times[own] - lag, times[own], own, slack) for lag in asked]
        numbers = np.stack(rows)
        kept.append(numbers[:, (numbers >= 0).all(axis=0)])
    pairs = LagPairs(asked, np.concatenate(kept, axis=1) if kept else np.empty((len(asked) + 1, 0), int))
    if pairs.n_pairs < 2:
        raise ValueError(
            f"{pairs.n_pairs} of {len(times)} snapshots have others of their run {_listed(asked)} s before them, "
            f"expected two or more; {_spacing(steps)}"
        )
    return pairs


def time_taper(lags: np.ndarray, scale: float) -> np.ndarray:
    """exp(−δ²/2T²) between the present and all lags: (L,) [s] → (L + 1, L + 1).

    scale : T [s]; np.inf for no taper. ValueError if it is not positive
    """
    if not scale > 0.0:
        raise ValueError(f"time scale of {scale:g} s, expected a positive one")
    ago = np.concatenate([[0.0], np.asarray(lags, np.float64)])
    return np.exp(-0.5 * ((ago[:, None] - ago[None, :]) / scale) ** 2)


def _those_at(wanted: np.ndarray, times: np.ndarray, numbers: np.ndarray, slack: float) -> np.ndarray:
    """Numbers of the snapshots of these times, −1 where there is none; `times` rise."""
    near = np.clip(np.searchsorted(times, wanted - slack), 0, len(times) - 1)
    return np.where(np.abs(times[near] - wanted) <= slack, numbers[near], -1)


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _spacing(steps: np.ndarray) -> str:
    if len(steps) == 0:
        return "no run has two snapshots"
    low, high = float(steps.min()), float(steps.max())
    apart = f"{low:g}" if np.isclose(low, high) else f"{low:g} to {high:g}"
    return f"snapshots of a run are {apart} s apart; give lags that are multiples of that"
