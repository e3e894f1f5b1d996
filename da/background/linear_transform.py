"""The linear control-variable transform: a control times the modes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.background.modes import Modes
from da.observation.operator import ObservationOperator, modes_operator

_CONVERTED = 1 << 19  # values converted at once


@dataclass(frozen=True)
class LinearTransform:
    """δx = scale · (V w), for `reduced` (Parrish & Derber 1992) and `tsvd` (Arcucci et al. 2019) alike.

    modes : Modes, of snapshots that were divided by `scale`
    scale : (n_local,) factor of each value, in the state's units; None for ones
    comm : MPI communicator of the rows

    ValueError on every rank if `scale` does not fit the modes' rows on one.
    """

    modes: Modes
    scale: np.ndarray | None
    comm: MPI.Comm

    linear = True

    def __post_init__(self) -> None:
        n_local, problem = len(self.modes.vectors), None
        if self.scale is not None and np.shape(self.scale) != (n_local,):
            problem = f"scale of shape {np.shape(self.scale)}, expected ({n_local},) like the modes' rows"
        refuse_together(problem, self.comm)

    @property
    def n_control(self) -> int:
        """s, length of a control."""
        return self.modes.n_modes

    @property
    def n_local(self) -> int:
        """Values of the state on this rank."""
        return len(self.modes.vectors)

    def rows(self, chosen: Any) -> np.ndarray:
        """(k, n_control) float64 rows of U, in the state's units; `chosen` is a slice or numbers of this rank's."""
        vectors = np.asarray(self.modes.vectors[chosen], np.float64)
        return vectors if self.scale is None else self.scale[chosen, None] * vectors

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The modes and the scale: this rank's arrays."""
        return (self.modes.vectors,) if self.scale is None else (self.modes.vectors, self.scale)

    def apply(self, control: np.ndarray) -> np.ndarray:
        """U w: (n_control,) → (n_local,) in the state's units."""
        of = self.modes
        return self._scaled(product(of.vectors, control) if of.factor is None else of.factor.product(control))

    def adjoint(self, increment: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """Uᵀ δx: (n_local,) → (n_control,), summed over the ranks; `at` is ignored. Collective."""
        of, values = self.modes, self._scaled(increment)
        if of.factor is not None:
            control = of.factor.transposed_product(values)
        else:
            control = transposed_product(of.vectors, values)
        self.comm.Allreduce(MPI.IN_PLACE, control)
        return control

    def tangent(self, direction: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """U p, like `apply`; `at` is ignored."""
        return self.apply(direction)

    def operator_product(self, operator: ObservationOperator) -> np.ndarray:
        """H U: (M_local, n_control), from the rows that H uses. Collective."""
        return modes_operator(operator).observe_modes(self.modes.vectors, self.scale)

    def operator_product_in_blocks(self, operator: ObservationOperator) -> Iterator[tuple[slice, np.ndarray]]:
        """H U by blocks of H's rows: slices of this rank's rows and their (k, n_control). Collective."""
        return modes_operator(operator).observe_modes_in_blocks(self.modes.vectors, self.scale)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return values if self.scale is None else self.scale * values


def product(vectors: np.ndarray, control: np.ndarray) -> np.ndarray:
    """V w in one pass over V, summed in float64 whatever V's precision: (n_local, s), (s,) → (n_local,)."""
    if vectors.dtype == np.float64:
        return vectors @ control
    result = np.empty(len(vectors))
    for rows, block in _in_float64(vectors):
        np.matmul(block, control, out=result[rows])
    return result


def transposed_product(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Vᵀ x of this rank's rows in one pass over V, summed in float64: (n_local, s), (n_local,) → (s,)."""
    if vectors.dtype == np.float64:
        return vectors.T @ values
    result = np.zeros(vectors.shape[1])
    for rows, block in _in_float64(vectors):
        result += values[rows] @ block
    return result


def _in_float64(vectors: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows in float64, small enough to be in the processor's cache when they are used.

    Sums in float32 would take half the time, but where modes cancel they change analyses by more than 1e-6, and U and
    Uᵀ are then not adjoint to the precision that an iterative solver needs.
    """
    step = max(1, _CONVERTED // max(1, vectors.shape[1]))
    memory = np.empty((min(step, len(vectors)), vectors.shape[1]))
    for first in range(0, len(vectors), step):
        rows = slice(first, min(first + step, len(vectors)))
        block = memory[: rows.stop - first]
        block[...] = vectors[rows]
        yield rows, block
