"""A diagonal R: independent errors. It stays distributed, however many observations there are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from da.observation.error import ErrorBlock, check_std


@dataclass(frozen=True)
class DiagonalError:
    """R of independent errors.

    std_local : (M_local,) standard deviations of this rank's rows, in the variables' units

    ValueError on the rank where one is not positive; `diagonal_error` raises it on every rank.
    """

    std_local: np.ndarray

    blocks: ClassVar[tuple[ErrorBlock, ...]] = ()

    def __post_init__(self) -> None:
        check_std(self.std_local)

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine R: this rank's arrays."""
        return (self.std_local,)

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """R^{-1/2} v: (M_local,) or (M_local, k) → the same shape, without units."""
        return values / self._like(values)

    def solve(self, values: np.ndarray) -> np.ndarray:
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""
        return values / self._like(values) ** 2

    def by_blocks(
        self,
        values: np.ndarray,
        alone: Callable[[np.ndarray], np.ndarray],
        within: Sequence[Callable[[np.ndarray], np.ndarray]],
    ) -> np.ndarray:
        """A function of each row: (M_local, k) → (M_local, k'); see `ObservationError`."""
        return alone(values)

    def of_blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Nothing: a diagonal R has no blocks."""
        return iter(())

    def inflated(self, variance: np.ndarray) -> "DiagonalError":
        """R plus a diagonal of variances: (M_local,), in the variables' units squared."""
        return DiagonalError(np.sqrt(self.std_local**2 + variance))

    def _like(self, values: np.ndarray) -> np.ndarray:
        return self.std_local if np.ndim(values) == 1 else self.std_local[:, None]


def diagonal_error(std: np.ndarray, rows: slice) -> DiagonalError:
    """This rank's share of a diagonal R.

    Parameters
    ----------
    std : (M,) standard deviations, the same on every rank, in the variables' units
    rows : slice of the rows that this rank holds, see `ObservationOperator.rows`

    Raises
    ------
    ValueError
        on every rank, if one is not positive and finite
    """
    std = np.asarray(std, dtype=np.float64)
    check_std(std)
    return DiagonalError(std[rows])
