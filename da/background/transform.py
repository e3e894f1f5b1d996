"""What the analysis requires of a control-variable transform, U: w ↦ δx.

A control is small and complete on every rank; an increment is distributed over the ranks like the grid.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from da.observation.operator import ObservationOperator


class Transform(Protocol):
    """U. All methods are collective.

    n_control : s, length of a control
    linear : whether U is linear
    content : the numbers that determine U, as a tuple of this rank's arrays; the weights of a network are not among
        them
    """

    @property
    def n_control(self) -> int: ...

    @property
    def linear(self) -> bool: ...

    @property
    def content(self) -> tuple[np.ndarray, ...]: ...

    def apply(self, control: np.ndarray) -> np.ndarray:
        """U(w): (n_control,) on every rank → (n_local,) in the state's units."""

    def adjoint(self, increment: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """U'ᵀ δx: (n_local,) → (n_control,), summed over the ranks.

        at : (n_control,) control at which U is differentiated; None for zero. A linear U ignores it
        """

    def tangent(self, direction: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """U' p: (n_control,) on every rank → (n_local,) in the state's units; `at` as in `adjoint`."""

    def operator_product(self, operator: ObservationOperator) -> np.ndarray:
        """H U for linear U and H: (M_local, n_control). ValueError if U or H is not linear."""

    def operator_product_in_blocks(self, operator: ObservationOperator) -> Iterator[tuple[slice, np.ndarray]]:
        """H U by blocks of H's rows: slices of this rank's rows and their (k, n_control); as `operator_product`."""


class RowTransform(Transform, Protocol):
    """A linear U whose rows are known, so that errors of an analysis can be had at any value of the state.

    n_local : values of the state on this rank
    comm : MPI communicator of the rows
    """

    @property
    def n_local(self) -> int: ...

    @property
    def comm(self) -> MPI.Comm: ...

    def rows(self, chosen: Any) -> np.ndarray:
        """(k, n_control) float64 rows of U, in the state's units; nothing collective.

        chosen : slice or numbers of this rank's values
        """
