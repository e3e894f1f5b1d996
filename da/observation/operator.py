"""What the analysis requires of an observation operator H, linear or not."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np


class ObservationOperator(Protocol):
    """H of an increment: state → observations. All methods are collective.

    n_observations : M, over all ranks
    n_state : n, length of an increment over all ranks
    rows : slice of the observations on this rank
    linear : whether H is linear
    content : the numbers that determine H, as a tuple of this rank's arrays
    """

    @property
    def n_observations(self) -> int: ...

    @property
    def n_state(self) -> int: ...

    @property
    def rows(self) -> slice: ...

    @property
    def linear(self) -> bool: ...

    @property
    def content(self) -> tuple[np.ndarray, ...]: ...

    def observe(self, increment: np.ndarray) -> np.ndarray:
        """H(δx): (n_local,) → (M_local,), in the observations' units; zero of a zero increment."""

    def adjoint(self, values: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """H'ᵀ y: (M_local,) → (n_local,).

        at : (n_local,) increment at which H is differentiated; None for zero. A linear H ignores it
        """

    def linearised(self, increment: np.ndarray) -> "ObservationOperator":
        """H' at an increment, (n_local,), as a linear operator; a linear H returns itself."""


@runtime_checkable
class ModesOperator(Protocol):
    """A linear H that can be applied to many vectors at once. All methods are collective."""

    def observe_modes(self, vectors: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
        """H (scale · V): (n_local, s) → (M_local, s) float64."""

    def observe_modes_in_blocks(
        self, vectors: np.ndarray, scale: np.ndarray | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """The same by blocks of H's rows: slices of this rank's rows and their (k, s) float64."""


def modes_operator(operator: ObservationOperator) -> ModesOperator:
    """The operator itself. ValueError if it cannot be applied to many vectors at once."""
    if not isinstance(operator, ModesOperator):
        raise ValueError(f"{type(operator).__name__} has no product with modes; linearise the operator first")
    return operator
