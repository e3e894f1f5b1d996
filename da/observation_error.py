"""Covariance R of the observations' errors, as its inverse is needed."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class ObservationError(Protocol):
    """What the cost function asks of R. A root may be any with ‖whiten(v)‖² = vᵀ R⁻¹ v."""

    def whiten(self, values):
        """R^{-1/2} v: (M_local,) or (M_local, k) → the same shape, without units."""

    def solve(self, values):
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""


@dataclass(frozen=True)
class DiagonalError:
    """Errors that know nothing of each other.

    std_local : (M_local,) standard deviations of this rank's rows, in the variables' units

    ValueError on the rank where one is not positive; `diagonal_error` tells every rank.
    """

    std_local: np.ndarray

    def __post_init__(self):
        _check(self.std_local)

    def whiten(self, values):
        """R^{-1/2} v: (M_local,) or (M_local, k) → the same shape, without units."""
        return values / self._like(values)

    def solve(self, values):
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""
        return values / self._like(values) ** 2

    def _like(self, values):
        return self.std_local if np.ndim(values) == 1 else self.std_local[:, None]


def diagonal_error(std, rows):
    """This rank's share of a diagonal R.

    Parameters
    ----------
    std : (M,) standard deviations, the same on every rank, in the variables' units
    rows : slice of the rows this rank holds, see `ObservationOperator.rows`

    Raises
    ------
    ValueError
        on every rank, if one is not positive and finite
    """
    std = np.asarray(std, dtype=np.float64)
    _check(std)
    return DiagonalError(std[rows])


def _check(std):
    bad = np.flatnonzero(~(np.isfinite(std) & (std > 0.0)))
    if len(bad):
        raise ValueError(f"observation error {std[bad[0]]:g} in row {bad[0]}, expected a positive standard deviation")
