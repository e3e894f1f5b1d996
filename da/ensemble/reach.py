"""Which readings count for which rows of a state, and how much: localisation of R.

Errors of readings far from a place are taken for larger there, by the inverse of a taper (Hunt, Kostelich & Szunyogh
2007, Efficient data assimilation for spatiotemporal chaos, §2.3). Rows of a place that count the same readings alike
share their weights: they are a site. Sites near each other make a block, which is analysed at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from da.observation.correlation import gaspari_cohn

_ROWS = 64  # of a site at most: those of a level without horizontal taper would be one
_SITES = 128  # of a block at most: their matrices stay in the processor's cache
_SUPPORT = 2.0  # lengths from which the taper is zero


@dataclass(frozen=True)
class Reach:
    """Places of rows, and how far readings reach.

    position : (n_local, 3) place of each of this rank's rows [m]
    variable : (n_local,) number of each row's variable, 0 … v − 1
    horizontal, vertical : (v,) lengths of each variable [m]; Gaspari & Cohn's taper ends at two; np.inf for no taper
    between : (v, M) factors in [0, 1] of each reading's R⁻¹ for rows of a variable; None where all are one

    ValueError if an array does not fit the others or holds what cannot be.
    """

    position: np.ndarray
    variable: np.ndarray
    horizontal: np.ndarray
    vertical: np.ndarray
    between: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, v = len(self.variable), len(self.horizontal)
        if np.shape(self.position) != (n, 3):
            raise ValueError(f"positions of shape {np.shape(self.position)}, expected ({n}, 3)")
        if np.shape(self.vertical) != (v,):
            raise ValueError(f"vertical lengths of shape {np.shape(self.vertical)}, expected ({v},) as the horizontal")
        if n and not (np.min(self.variable) >= 0 and np.max(self.variable) < v):
            raise ValueError(f"a row is of variable {np.max(self.variable)}, expected 0 to {v - 1}")
        if not (np.all(np.asarray(self.horizontal) > 0.0) and np.all(np.asarray(self.vertical) > 0.0)):
            raise ValueError("a localisation length is not positive")
        if self.between is not None:
            between = np.asarray(self.between)
            if between.ndim != 2 or len(between) != v:
                raise ValueError(f"factors of readings of shape {between.shape}, expected ({v}, M)")
            if not (np.all(between >= 0.0) and np.all(between <= 1.0)):
                raise ValueError("a factor of a reading is not in [0, 1]")


@dataclass(frozen=True)
class Block:
    """Sites near each other that count readings alike.

    rows : (k, r) of the state; a site of fewer than r has its last one again
    position : (k, 3) [m], zero along axes without taper
    lengths : (3,) [m]
    near : (m,) numbers of the readings that reach one of the sites
    factor : (m,) of these readings' R⁻¹
    reached_by : (k,) how many readings reach each site
    """

    rows: np.ndarray
    position: np.ndarray
    lengths: np.ndarray
    near: np.ndarray
    factor: np.ndarray
    reached_by: np.ndarray

    def weights(self, place: np.ndarray) -> np.ndarray:
        """(k, m) factors of R⁻¹ of the near readings at each site; place : (M, 3) of all readings."""
        return _taper(self.position, self.lengths, self.factor, place[self.near])


def blocks_of(reach: Reach, place: np.ndarray) -> Iterator[Block]:
    """Blocks of this rank's sites that a reading reaches.

    Parameters
    ----------
    reach : Reach
    place : (M, 3) of the readings [m]

    Raises
    ------
    ValueError
        if `reach.between` is of another number of readings
    """
    v = len(reach.horizontal)
    between = np.ones((v, len(place))) if reach.between is None else np.asarray(reach.between, dtype=np.float64)
    if between.shape[1] != len(place):
        raise ValueError(f"factors of {between.shape[1]} readings, expected {len(place)}")
    alike = np.concatenate([np.stack([reach.horizontal, reach.vertical], axis=1), between], axis=1)
    kinds, kind_of = np.unique(alike, axis=0, return_inverse=True)
    row_kind = kind_of.reshape(-1)[np.asarray(reach.variable, dtype=np.int64)]
    for number, kind in enumerate(kinds):
        lengths, factor = kind[[0, 0, 1]], kind[2:]
        of = np.flatnonzero(row_kind == number)
        position = np.where(np.isfinite(lengths), np.asarray(reach.position)[of], 0.0)
        yield from _blocks_of_kind(of, position, lengths, factor, place)


def _blocks_of_kind(
    of: np.ndarray, position: np.ndarray, lengths: np.ndarray, factor: np.ndarray, place: np.ndarray
) -> Iterator[Block]:
    """Blocks of rows `of` at (n, 3) positions that count all readings alike."""
    order, start, count = _sites(position)
    at = position[order[start]]
    for sites in _neighbours(at / np.where(np.isfinite(lengths), lengths, 1.0)):
        near = _near(at[sites], lengths, factor, place)
        rows = start[sites, None] + np.minimum(np.arange(count[sites].max()), count[sites, None] - 1)
        taper = _taper(at[sites], lengths, factor[near], place[near])
        reached_by = np.count_nonzero(taper, axis=1)
        if (reached := reached_by > 0).any():
            yield Block(
                of[order[rows[reached]]], at[sites[reached]], lengths, near, factor[near], reached_by[reached]
            )  # fmt: skip


def _taper(position: np.ndarray, lengths: np.ndarray, factor: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(k, m) factors of R⁻¹ of (m,) readings at (k,) sites."""
    squared = np.zeros((len(position), len(place)))
    for axis in np.flatnonzero(np.isfinite(lengths)):
        squared += ((position[:, None, axis] - place[None, :, axis]) / lengths[axis]) ** 2
    return gaspari_cohn(np.sqrt(squared)) * factor


def _sites(position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of rows in which those of a site follow each other, first of each site in that order, their number."""
    order = np.lexsort(position.T)
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any(position[order[1:]] != position[order[:-1]], axis=1)
    first = np.flatnonzero(new)
    within = np.arange(len(order)) - first[np.cumsum(new) - 1] if len(order) else np.empty(0, np.int64)
    start = np.flatnonzero(within % _ROWS == 0)
    return order, start, np.diff(np.append(start, len(order)))


def _neighbours(points: np.ndarray) -> Iterator[np.ndarray]:
    """Numbers of points, (k, 3) in units of the lengths, in groups: halved along the longest axis until small."""
    waiting = [np.arange(len(points))] if len(points) else []
    while waiting:
        of = waiting.pop()
        if len(of) <= _SITES:
            yield of
            continue
        axis = int(np.argmax(np.ptp(points[of], axis=0)))
        order = np.argpartition(points[of, axis], len(of) // 2)
        waiting += [of[order[: len(of) // 2]], of[order[len(of) // 2 :]]]


def _near(at: np.ndarray, lengths: np.ndarray, factor: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Numbers of the readings within reach of the box about some sites."""
    squared = np.zeros(len(place))
    for axis in np.flatnonzero(np.isfinite(lengths)):
        low, high = at[:, axis].min(), at[:, axis].max()
        beyond = np.maximum(np.maximum(low - place[:, axis], place[:, axis] - high), 0.0)
        squared += (beyond / lengths[axis]) ** 2
    return np.flatnonzero((squared < _SUPPORT**2) & (factor > 0.0))
