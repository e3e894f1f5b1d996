"""What the analysis requires of R, the covariance of the observations' errors, and checks of standard deviations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class ErrorBlock:
    """A block of rows whose errors are correlated.

    rows : (m,) global numbers, rising
    factor : (m, m) lower Cholesky factor of their covariance
    """

    rows: np.ndarray
    factor: np.ndarray


class ObservationError(Protocol):
    """R. Its root may be any with ‖whiten(v)‖² = vᵀ R⁻¹ v.

    Methods are collective where R couples rows of different ranks.

    std_local : (M_local,) standard deviations of this rank's rows, in the variables' units
    blocks : of rows with correlated errors, those with a row on this rank
    content : the numbers that determine R, as a tuple of this rank's arrays
    """

    @property
    def std_local(self) -> np.ndarray: ...

    @property
    def blocks(self) -> Sequence[ErrorBlock]: ...

    @property
    def content(self) -> tuple[np.ndarray, ...]: ...

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """R^{-1/2} v: (M_local,) or (M_local, k) → the same shape, without units."""

    def solve(self, values: np.ndarray) -> np.ndarray:
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""

    def by_blocks(
        self,
        values: np.ndarray,
        alone: Callable[[np.ndarray], np.ndarray],
        within: Sequence[Callable[[np.ndarray], np.ndarray]],
    ) -> np.ndarray:
        """A function of the rows of each block: (M_local, k) → (M_local, k').

        alone : the function for independent rows, (M_local, k) → (M_local, k')
        within : the function for each of `blocks`, (m, k) → (m, k')
        """

    def of_blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Each block's rows of values, from all ranks: (M_local, k) → iterator of (m, k)."""

    def inflated(self, variance: np.ndarray) -> "ObservationError":
        """R plus a diagonal of variances: (M_local,), in the observations' units squared."""


def instrument_std(
    std: np.ndarray,
    instrument: np.ndarray,
    given: Mapping[str, float | Mapping[str, float]],
    variable: np.ndarray | None = None,
) -> np.ndarray:
    """Standard deviations, with those of known instruments in place of the observations' own.

    Parameters
    ----------
    std : (M,) of the observations themselves, in the variables' units
    instrument : (M,) names, "" where there is none
    given : {instrument: standard deviation}, or {instrument: {variable: standard deviation}}
    variable : (M,) names, required where `given` distinguishes variables

    Returns
    -------
    (M,); an observation whose instrument or variable is not in `given` keeps its own

    Raises
    ------
    ValueError
        if a given standard deviation is not positive and finite
    """
    result, instrument = np.array(std, dtype=np.float64), np.asarray(instrument)
    for name, value in given.items():
        by_variable = list(value.items()) if isinstance(value, Mapping) else [(None, value)]
        for variable_name, deviation in by_variable:
            if not (np.isfinite(deviation) and deviation > 0.0):
                raise ValueError(f"error {deviation!r} of instrument {name!r}, expected a positive standard deviation")
            rows = instrument == name
            if variable_name is not None:
                rows &= np.asarray(variable) == variable_name
            result[rows] = deviation
    return result


def check_std(std: np.ndarray) -> None:
    """ValueError that names the first of (M,) standard deviations that is not positive and finite."""
    bad = np.flatnonzero(~(np.isfinite(std) & (std > 0.0)))
    if len(bad):
        raise ValueError(f"observation error {std[bad[0]]:g} in row {bad[0]}, expected a positive standard deviation")
