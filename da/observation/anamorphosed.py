"""Observations of variables that are analysed by an anamorphosis: a nonlinear observation operator.

The analysed values a lie at nodes of a mesh, and c = ψ(a) there; an observation is a weighted sum of c, or a speed made
of such sums. With G the linear operator from an increment of the state to the nodes, and L that from c to observations,

    h(δx) = L(ψ(a_b + G δx)) − L(ψ(a_b)),    h' = L' diag(ψ') G

:mod:`da.background.anamorphosis` has the functions ψ.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from coupling.common.collective import refuse_together
from da.observation.matrix_operator import MatrixOperator
from da.observation.speed import SpeedOperator


class NodeFunction(Protocol):
    """ψ of each of K values."""

    def values(self, transformed: np.ndarray) -> np.ndarray:
        """(K,) ψ, with a continuous derivative."""

    def within_bounds(self, transformed: np.ndarray) -> np.ndarray:
        """(K,) ψ as an analysis has it, cut at its bounds."""

    def slopes(self, transformed: np.ndarray) -> np.ndarray:
        """(K,) derivative of `values`."""

    @property
    def content(self) -> tuple[np.ndarray, ...]: ...


@dataclass(frozen=True)
class AnamorphosedOperator:
    """h of an increment in the analysed variables. An observation operator that is not linear.

    nodes : MatrixOperator, G, with a row for each of this rank's K values at nodes
    background : (K,) a_b
    function : NodeFunction, ψ
    outer : MatrixOperator or SpeedOperator, L, whose state is the values at nodes

    ValueError on every rank if they do not fit each other on one.
    """

    nodes: MatrixOperator
    background: np.ndarray
    function: NodeFunction
    outer: MatrixOperator | SpeedOperator

    linear = False

    def __post_init__(self) -> None:
        k, problem = self.nodes.rows.stop - self.nodes.rows.start, None
        matrix = self.outer.components.matrix if isinstance(self.outer, SpeedOperator) else self.outer.matrix
        if not len(self.background) == k == matrix.getLocalSize()[1]:
            problem = f"{len(self.background)} backgrounds, {k} rows of G and {matrix.getLocalSize()[1]} columns of L"
        refuse_together(problem, self._comm)

    @property
    def _comm(self) -> MPI.Intracomm:
        return self.nodes.matrix.getComm().tompi4py()

    @property
    def n_observations(self) -> int:
        """M, over all ranks. Collective."""
        return self.outer.n_observations

    @property
    def n_state(self) -> int:
        """n, values of the state, over all ranks."""
        return self.nodes.n_state

    @property
    def rows(self) -> slice:
        """Slice of the observations on this rank. Collective."""
        return self.outer.rows

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine h: this rank's arrays."""
        return (*self.nodes.content, self.background, *self.function.content, *self.outer.content)

    def observe(self, increment: np.ndarray) -> np.ndarray:
        """h(δx): (n_local,) in the analysed variables → (M_local,), in the observations' units. Collective."""
        return self.outer.observe(self._moved(increment))

    def observe_within_bounds(self, increment: np.ndarray) -> np.ndarray:
        """As `observe`, of the analysis as it will be, with values cut at their bounds. Collective."""
        transformed = self.background + self.nodes.observe(increment)
        moved = self.function.within_bounds(transformed) - self.function.within_bounds(self.background)
        return self.outer.observe(moved)

    def adjoint(self, values: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """h'(δx)ᵀ y: (M_local,) → (n_local,). Collective.

        at : (n_local,) δx; None for the background
        """
        slope, moved = self.function.slopes(self.background), None
        if at is not None:
            slope, moved = self.function.slopes(self.background + self.nodes.observe(at)), self._moved(at)
        return self.nodes.adjoint(slope * self.outer.adjoint(values, at=moved))

    def linearised(self, increment: np.ndarray) -> MatrixOperator:
        """h' at an increment. Collective."""
        slope = self.function.slopes(self.background + self.nodes.observe(increment))
        matrix = self.nodes.matrix.copy()
        matrix.diagonalScale(L=PETSc.Vec().createWithArray(np.ascontiguousarray(slope), comm=matrix.getComm()))
        return MatrixOperator(self.outer.linearised(self._moved(increment)).matrix.matMult(matrix))

    def _moved(self, increment: np.ndarray) -> np.ndarray:
        """(K,) change of the values at nodes."""
        transformed = self.background + self.nodes.observe(increment)
        return self.function.values(transformed) - self.function.values(self.background)
