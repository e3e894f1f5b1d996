"""Covariance R of the observations' errors, as its inverse is needed.

Here R is diagonal and stays distributed, however many readings there are; errors that know of each
other are :mod:`da.observation.correlated_error`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class ObservationError(Protocol):
    """What the cost function asks of R. A root may be any with ‖whiten(v)‖² = vᵀ R⁻¹ v.

    Methods are collective where R couples rows of different ranks.

    std_local : (M_local,) standard deviations of this rank's rows, in the variables' units
    blocks : of rows that know of each other, those with one on this rank; each has the inverse of its correlations,
        `precision` C⁻¹, (m, m), and `force_std` √(C⁻¹)_ii, (m,)
    content : the numbers that determine R, as a tuple of this rank's arrays
    """

    std_local: np.ndarray
    blocks: tuple
    content: tuple[np.ndarray, ...]

    def whiten(self, values):
        """R^{-1/2} v: (M_local,) or (M_local, k) → the same shape, without units."""

    def solve(self, values):
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""

    def by_blocks(self, values, alone, within):
        """A function of the rows of each block: (M_local, k) → (M_local, k').

        alone : what it is for rows that know of no other, (M_local, k) → (M_local, k')
        within : what it is for each of `blocks`, (m, k) → (m, k')
        """

    def of_blocks(self, values):
        """Each block's rows of values, from all ranks: (M_local, k) → iterator of (m, k)."""

    def inflated(self, variance):
        """R with more variance, of independent errors: (M_local,), in the readings' units squared."""


@dataclass(frozen=True)
class DiagonalError:
    """Errors that know nothing of each other.

    std_local : (M_local,) standard deviations of this rank's rows, in the variables' units

    ValueError on the rank where one is not positive; `diagonal_error` tells every rank.
    """

    std_local: np.ndarray

    blocks = ()

    def __post_init__(self):
        check_std(self.std_local)

    @property
    def content(self):
        """The numbers that determine R: this rank's arrays."""
        return (self.std_local,)

    def whiten(self, values):
        """R^{-1/2} v: (M_local,) or (M_local, k) → the same shape, without units."""
        return values / self._like(values)

    def solve(self, values):
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""
        return values / self._like(values) ** 2

    def by_blocks(self, values, alone, within):
        """A function of each row: (M_local, k) → (M_local, k'); see `ObservationError`."""
        return alone(values)

    def of_blocks(self, values):
        """There are none."""
        return iter(())

    def inflated(self, variance):
        """R with more variance: (M_local,), in the variables' units squared."""
        return DiagonalError(np.sqrt(self.std_local**2 + variance))

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
    check_std(std)
    return DiagonalError(std[rows])


def instrument_std(std, instrument, given, variable=None):
    """Standard deviations with those of known instruments put in their place.

    Parameters
    ----------
    std : (M,) of the readings themselves, in the variables' units
    instrument : (M,) names, "" where there is none
    given : {instrument: standard deviation}, or {instrument: {variable: standard deviation}}
    variable : (M,) names, needed where `given` tells variables apart

    Returns
    -------
    (M,); a reading whose instrument, or variable of it, is not given keeps its own

    Raises
    ------
    ValueError
        if a given one is not positive and finite
    """
    result, instrument = np.array(std, dtype=np.float64), np.asarray(instrument)
    for name, value in given.items():
        for of, one in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if not (np.isfinite(one) and one > 0.0):
                raise ValueError(f"error {one!r} of instrument {name!r}, expected a positive standard deviation")
            result[(instrument == name) & (True if of is None else np.asarray(variable) == of)] = one
    return result


def check_std(std):
    """ValueError that names the first of (M,) standard deviations that is not positive and finite."""
    bad = np.flatnonzero(~(np.isfinite(std) & (std > 0.0)))
    if len(bad):
        raise ValueError(f"observation error {std[bad[0]]:g} in row {bad[0]}, expected a positive standard deviation")
