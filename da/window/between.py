"""States between two states of a run, learned from runs that have states between them.

With x₀ and x_n two states, n steps of the finer runs apart, and E the leading modes of these runs' states,

    x_k = (1 − k/n) x₀ + (k/n) x_n + E M_k [Eᵀ(x₀ − x̄); Eᵀ(x_n − x̄)].

M_k is the ridge regression of what linear interpolation leaves out on the codes of both ends. Of a linear inverse model
with Gaussian errors it is the bridge that meets both ends (Penland & Magorian 1993,
https://doi.org/10.1175/1520-0442(1993)006<1067:PONSST>2.0.CO;2), without its assumption of Markov codes. The number of
modes and the ridge are chosen by the last states in time; none where linear interpolation is better there.

Hoerl & Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems,
    https://doi.org/10.1080/00401706.1970.10488634
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from mpi4py import MPI

MODES, RIDGES = (4, 8, 16, 32, 64, 128), (1e-4, 1e-3, 1e-2, 1e-1)
_VALIDATION = 0.1  # part of the states, the last in time, that choose
_SOUND = 1e-10  # of the largest variance: smaller ones are rounding


@dataclass(frozen=True)
class Bridge:
    """What gives the states between two.

    modes : (n_local, m) E; m may be 0
    mean : (n_local,) x̄
    weights : (n − 1, m, 2m) M_k
    ridge : that was chosen; zero without modes
    errors : of linear interpolation and of this at the states that chose, in those of their mean
    """

    modes: np.ndarray
    mean: np.ndarray
    weights: np.ndarray
    ridge: float
    errors: tuple[float, float]

    def between(self, before: np.ndarray, after: np.ndarray, comm: MPI.Comm) -> list[np.ndarray]:
        """The n − 1 states between two, (n_local,) each. Collective."""
        codes = np.concatenate([self.modes.T @ (end - self.mean) for end in (before, after)])
        comm.Allreduce(MPI.IN_PLACE, codes)
        n = len(self.weights) + 1
        return [
            before + k / n * (after - before) + self.modes @ (weights @ codes)
            for k, weights in enumerate(self.weights, 1)
        ]


def learned_bridge(states: np.ndarray, runs: Sequence[np.ndarray], n: int, comm: MPI.Comm) -> Bridge:
    """The bridge over n steps. Collective.

    Parameters
    ----------
    states : (n_local, S)
    runs : numbers of states in the order of time, a step apart, of each run
    n : steps from one end to the other, 2 or more
    comm : MPI communicator over which the rows lie

    Raises
    ------
    ValueError
        on every rank, if n is below 2, or the runs are too short to learn from and to choose by
    """
    if n < 2:
        raise ValueError(f"{n} steps between two states; between states one step apart there are none")
    cut = [len(run) - max(n + 1, round(_VALIDATION * len(run))) for run in runs]
    known = [run[:end] for run, end in zip(runs, cut, strict=True) if end > n]
    judged = [run[end:] for run, end in zip(runs, cut, strict=True) if end > n]
    if not known:
        longest = max(map(len, runs), default=0)
        raise ValueError(
            f"runs of at most {longest} states, to learn {n - 1} between two takes {2 * n + 2}; give longer"
        )
    first = _Fit(states, np.concatenate(known), comm)
    trials = {setting: first.error(known, judged, n, *setting) for setting in [(0, 0.0), *product(MODES, RIDGES)]}
    modes, ridge = min(trials, key=trials.__getitem__)
    whole = _Fit(states, np.concatenate(list(runs)), comm)
    base = whole.modes(modes)
    return Bridge(base, whole.mean, whole.weights(runs, n, base.shape[1], ridge), ridge,
                  (trials[0, 0.0], trials[modes, ridge]))  # fmt: skip


class _Fit:
    """Modes of some of the states, and codes of all; from products of states alone, which are the same on all ranks."""

    def __init__(self, states: np.ndarray, known: np.ndarray, comm: MPI.Comm) -> None:
        self.mean = states[:, known].mean(axis=1)
        self._away = states - self.mean[:, None]
        self.gram = self._away.T @ self._away
        comm.Allreduce(MPI.IN_PLACE, self.gram)
        variances, vectors = np.linalg.eigh(self.gram[np.ix_(known, known)])
        sound = np.flatnonzero(variances > max(_SOUND * variances[-1], 0.0))[::-1]
        # E = (states − x̄) · combination
        self._combination = np.zeros((states.shape[1], len(sound)))
        self._combination[known] = vectors[:, sound] / np.sqrt(variances[sound])
        self.codes = self._combination.T @ self.gram

    def modes(self, count: int) -> np.ndarray:
        return np.asarray(self._away @ self._combination[:, :count])

    def weights(self, runs: Sequence[np.ndarray], n: int, count: int, ridge: float) -> np.ndarray:
        """(n − 1, m, 2m)"""
        if count == 0:
            return np.zeros((n - 1, 0, 0))
        ends, middles = _windows(runs, n)
        z = self.codes[:count]
        at_ends = np.concatenate([z[:, ends[:, 0]], z[:, ends[:, 1]]])
        covariance = at_ends @ at_ends.T
        covariance[np.diag_indices_from(covariance)] += ridge * np.trace(covariance) / len(covariance)
        left = [z @ self._left_out(ends, of, k / n) for k, of in enumerate(middles, 1)]
        return np.stack([np.linalg.solve(covariance, at_ends @ of.T).T for of in left])

    def error(
        self, known: Sequence[np.ndarray], judged: Sequence[np.ndarray], n: int, count: int, ridge: float
    ) -> float:
        """Mean of ‖x_k − truth‖ / ‖truth − x̄‖ over the judged states between."""
        count = min(count, len(self.codes))
        weights, (ends, middles) = self.weights(known, n, count, ridge), _windows(judged, n)
        z, errors = self.codes[:count], []
        at_ends = np.concatenate([z[:, ends[:, 0]], z[:, ends[:, 1]]])
        for k, (of, weight) in enumerate(zip(middles, weights, strict=True), 1):
            out = self._left_out(ends, of, k / n)
            found = weight @ at_ends if count else np.zeros((0, len(ends)))
            square = np.einsum("ij,ij->j", out, self.gram @ out) - 2.0 * np.sum(found * (z @ out), axis=0)
            square += np.sum(found**2, axis=0)
            size = np.diag(self.gram)[of]
            errors.append(np.sqrt(np.maximum(square, 0.0) / np.where(size > 0.0, size, 1.0)))
        return float(np.mean(errors))

    def _left_out(self, ends: np.ndarray, of: np.ndarray, part: float) -> np.ndarray:
        """(S, T) the combinations of states that are what linear interpolation leaves out."""
        out, column = np.zeros((len(self.gram), len(of))), np.arange(len(of))
        out[of, column] += 1.0
        out[ends[:, 0], column] -= 1.0 - part
        out[ends[:, 1], column] -= part
        return out


def _windows(runs: Sequence[np.ndarray], n: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """(T, 2) ends, and n − 1 times the (T,) states between."""
    windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(run, n + 1) for run in runs if len(run) > n])
    return windows[:, [0, -1]], [windows[:, k] for k in range(1, n)]
