"""Control-variable transforms, U: w ↦ δx.

A control is small and whole on every rank; an increment lies over the ranks like the grid.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from mpi4py import MPI

from da.background.modes import Modes

_CONVERTED = 1 << 19  # values converted at once


class Transform(Protocol):
    """What the cost function asks of U."""

    n_control: int
    linear: bool

    def apply(self, control):
        """U(w): (n_control,) on every rank → (n_local,) in the state's units. Collective."""

    def adjoint(self, increment, at=None):
        """U'ᵀ δx: (n_local,) → (n_control,), summed over the ranks. Collective.

        at : (n_control,) control where U' is taken; a linear U has no use for it
        """

    def operator_product(self, operator):
        """H U: (M_local, n_control), asked only where U and H are linear. Collective."""

    def operator_product_in_blocks(self, operator):
        """H U by blocks of H's rows: slices of this rank's rows and their (k, n_control). Collective."""


@dataclass(frozen=True)
class LinearTransform:
    """δx = scale · (V w), for `reduced` (Parrish & Derber 1992) and `tsvd` (Arcucci et al. 2019) alike.

    modes : Modes, of snapshots that were divided by `scale`
    scale : (n_local,) factor of each value, in the state's units; None for ones
    comm : MPI communicator the rows lie over

    ValueError if `scale` does not fit the modes' rows.
    """

    modes: Modes
    scale: np.ndarray | None
    comm: MPI.Comm

    linear = True

    def __post_init__(self):
        n_local = len(self.modes.vectors)
        if self.scale is not None and np.shape(self.scale) != (n_local,):
            raise ValueError(f"scale of shape {np.shape(self.scale)}, expected ({n_local},) like the modes' rows")

    @cached_property
    def n_control(self):
        """s, length of a control."""
        return self.modes.n_modes

    def apply(self, control):
        """U w: (n_control,) → (n_local,) in the state's units."""
        return self._scaled(product(self.modes.vectors, control))

    def adjoint(self, increment, at=None):
        """Uᵀ δx: (n_local,) → (n_control,), summed over the ranks. Collective."""
        control = transposed_product(self.modes.vectors, self._scaled(increment))
        self.comm.Allreduce(MPI.IN_PLACE, control)
        return control

    def operator_product(self, operator):
        """H U: (M_local, n_control), from the rows that H touches. Collective."""
        return operator.observe_modes(self.modes.vectors, self.scale)

    def operator_product_in_blocks(self, operator):
        """H U by blocks of H's rows: slices of this rank's rows and their (k, n_control). Collective."""
        return operator.observe_modes_in_blocks(self.modes.vectors, self.scale)

    def _scaled(self, values):
        return values if self.scale is None else self.scale * values


def product(vectors, control):
    """V w in one pass over V, summed in float64 whatever V is kept in: (n_local, s), (s,) → (n_local,)."""
    if vectors.dtype == np.float64:
        return vectors @ control
    result = np.empty(len(vectors))
    for rows, block in _in_float64(vectors):
        np.matmul(block, control, out=result[rows])
    return result


def transposed_product(vectors, values):
    """Vᵀ x of this rank's rows in one pass over V, summed in float64: (n_local, s), (n_local,) → (s,)."""
    if vectors.dtype == np.float64:
        return vectors.T @ values
    result = np.zeros(vectors.shape[1])
    for rows, block in _in_float64(vectors):
        result += values[rows] @ block
    return result


def _in_float64(vectors):
    """Blocks of rows, converted where the processor's cache still has them when they are used.

    Sums in float32 would take half the time, but where modes cancel they leave analyses more than 1e-6 away, and
    U and Uᵀ are no adjoints for what iterates on them.
    """
    step = max(1, _CONVERTED // max(1, vectors.shape[1]))
    memory = np.empty((min(step, len(vectors)), vectors.shape[1]))
    for first in range(0, len(vectors), step):
        rows = slice(first, min(first + step, len(vectors)))
        block = memory[: rows.stop - first]
        block[...] = vectors[rows]
        yield rows, block
