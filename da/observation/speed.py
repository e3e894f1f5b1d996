"""Wind speed beside linear observations: a nonlinear observation operator.

An observation of speed is |v| of the wind at the sensor; an observation of a component or a scalar is linear. Both are
computed from the rows of one linear operator, which gives the components one by one.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from coupling.common.collective import refuse_together
from da.observation.matrix_operator import MatrixOperator

CALM = 1e-6  # m/s: far below what any sensor resolves


def speed_of(components: np.ndarray, axis: int = -1) -> np.ndarray:
    """√(|v|² + ε²) with ε = 1e-6 m/s, which unlike |v| has a derivative in still air."""
    return np.sqrt(np.sum(np.asarray(components) ** 2, axis=axis) + CALM**2)


@dataclass(frozen=True)
class SpeedOperator:
    """h(δx) = H(x_b + δx) − H(x_b): the change of speeds and linear observations with an increment.

    components : MatrixOperator, L, with a row for each linear observation and for each component of each speed
    background : (K_local,) L x_b, also of components that are not analysed
    reading : (K_local,) number of this rank's observation that each row belongs to, 0 … M_local − 1
    is_speed : (M_local,) bool, false for a linear observation, which has one row

    A sensor in still air says nothing about the wind's direction: its derivative is zero.

    ValueError on every rank if the arrays do not fit each other on one.
    """

    components: MatrixOperator
    background: np.ndarray
    reading: np.ndarray
    is_speed: np.ndarray

    linear = False

    def __post_init__(self) -> None:
        refuse_together(self._problem(), self._comm)

    def _problem(self) -> str | None:
        rows = np.bincount(self.reading, minlength=len(self.is_speed))
        k = self.components.rows.stop - self.components.rows.start
        if not len(self.background) == len(self.reading) == k or len(rows) != len(self.is_speed):
            return f"{len(self.background)} backgrounds and {len(self.reading)} numbers for {k} rows of L"
        wrong = np.flatnonzero(np.where(self.is_speed, rows < 1, rows != 1))
        if len(wrong):
            return f"observation {wrong[0]} has {rows[wrong[0]]} rows of L, expected one, or the components of a speed"
        return None

    @property
    def n_observations(self) -> int:
        """M, over all ranks. Collective."""
        return self._comm.allreduce(len(self.is_speed))

    @property
    def n_state(self) -> int:
        """n, values of the state, over all ranks."""
        return self.components.matrix.getSize()[1]

    @property
    def rows(self) -> slice:
        """Slice of the observations on this rank. Collective."""
        end = self._comm.scan(len(self.is_speed))
        return slice(end - len(self.is_speed), end)

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine h: this rank's arrays."""
        return (*self.components.content, self.background, self.reading, self.is_speed)

    @property
    def _comm(self) -> MPI.Intracomm:
        return self.components.matrix.getComm().tompi4py()

    def observe(self, increment: np.ndarray) -> np.ndarray:
        """h(δx): (n_local,) → (M_local,), in the observations' units. Collective."""
        values = self.components.observe(increment)
        linear = np.bincount(self.reading, values, len(self.is_speed))
        return np.where(self.is_speed, self._speed(self.background + values) - self._speed(self.background), linear)

    def background_value(self) -> np.ndarray:
        """H(x_b): (M_local,)."""
        linear = np.bincount(self.reading, self.background, len(self.is_speed))
        return np.where(self.is_speed, self._speed(self.background), linear)

    def adjoint(self, values: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """h'(δx)ᵀ y: (M_local,) → (n_local,). Collective.

        at : (n_local,) δx; None for the background
        """
        moved = np.zeros_like(self.background) if at is None else self.components.observe(at)
        return self.components.adjoint(self._slope(moved) * values[self.reading])

    def linearised(self, increment: np.ndarray) -> MatrixOperator:
        """h' at an increment. Collective."""
        slope = self._slope(self.components.observe(increment))
        order = np.argsort(self.reading, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(self.reading, minlength=len(self.is_speed)))])
        first = self.components.rows.start
        summing = PETSc.Mat().createAIJ(
            size=((len(self.is_speed), None), (len(self.reading), None)),
            csr=(start.astype(PETSc.IntType), (order + first).astype(PETSc.IntType), slope[order]),
            comm=self._comm,
        )
        summing.assemble()
        return MatrixOperator(summing.matMult(self.components.matrix))

    def _speed(self, values: np.ndarray) -> np.ndarray:
        return np.sqrt(np.bincount(self.reading, values**2, len(self.is_speed)) + CALM**2)

    def _slope(self, values: np.ndarray) -> np.ndarray:
        """(K_local,) derivative of each row's observation with respect to the row's value."""
        values = self.background + values
        return np.where(self.is_speed[self.reading], values / self._speed(values)[self.reading], 1.0)
