"""Wind speed beside linear readings: an observation operator that is not linear.

A reading of speed is |v| of the wind at the sensor, one of a component or a scalar is linear. All of
them are made of the rows of one linear operator, which sees the components one by one.
"""

from dataclasses import dataclass

import numpy as np
from petsc4py import PETSc

from da.observation.operator import ObservationOperator

CALM = 1e-6  # m/s: far below what any sensor resolves


def speed_of(components, axis=-1):
    """√(|v|² + ε²) with ε = 1e-6 m/s, which unlike |v| has a derivative in still air."""
    return np.sqrt(np.sum(np.asarray(components) ** 2, axis=axis) + CALM**2)


@dataclass(frozen=True)
class SpeedOperator:
    """h(δx) = H(x_b + δx) − H(x_b): what speeds and linear readings see of an increment.

    components : ObservationOperator, L, with a row for each linear reading and for each component of each speed
    background : (K_local,) L x_b, also of components that L's increment does not touch
    reading : (K_local,) number of this rank's reading that each row belongs to, 0 … M_local − 1
    is_speed : (M_local,) bool, false for a linear reading, which has one row

    A sensor in still air tells nothing of the wind's direction: its derivative is zero.

    ValueError where the arrays do not fit each other.
    """

    components: ObservationOperator
    background: np.ndarray
    reading: np.ndarray
    is_speed: np.ndarray

    linear = False

    def __post_init__(self):
        rows = np.bincount(self.reading, minlength=len(self.is_speed))
        k = self.components.rows.stop - self.components.rows.start
        if not len(self.background) == len(self.reading) == k or len(rows) != len(self.is_speed):
            raise ValueError(f"{len(self.background)} backgrounds and {len(self.reading)} numbers for {k} rows of L")
        wrong = np.flatnonzero(np.where(self.is_speed, rows < 1, rows != 1))
        if len(wrong):
            found = rows[wrong[0]]
            raise ValueError(f"reading {wrong[0]} has {found} rows of L, expected one, or components of a speed")

    @property
    def n_observations(self):
        """M, over all ranks. Collective."""
        return self._comm.allreduce(len(self.is_speed))

    @property
    def n_state(self):
        """n, values of the state, over all ranks."""
        return self.components.matrix.getSize()[1]

    @property
    def rows(self):
        """Slice of the observations that lie on this rank. Collective."""
        end = self._comm.scan(len(self.is_speed))
        return slice(end - len(self.is_speed), end)

    @property
    def _comm(self):
        return self.components.matrix.getComm().tompi4py()

    def observe(self, increment):
        """h(δx): (n_local,) → (M_local,), in the readings' units. Collective."""
        values = self.components.observe(increment)
        linear = np.bincount(self.reading, values, len(self.is_speed))
        return np.where(self.is_speed, self._speed(self.background + values) - self._speed(self.background), linear)

    def background_value(self):
        """(M_local,) H(x_b)."""
        linear = np.bincount(self.reading, self.background, len(self.is_speed))
        return np.where(self.is_speed, self._speed(self.background), linear)

    def adjoint(self, values, at):
        """h'(δx)ᵀ y: (M_local,) → (n_local,). Collective.

        at : (n_local,) increment where h' is taken
        """
        return self.components.adjoint(self._slope(self.components.observe(at)) * values[self.reading])

    def linearised(self, increment):
        """h' at an increment, as an ObservationOperator. Collective."""
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
        return ObservationOperator(summing.matMult(self.components.matrix))

    def _speed(self, values):
        return np.sqrt(np.bincount(self.reading, values**2, len(self.is_speed)) + CALM**2)

    def _slope(self, values):
        """(K_local,) derivative of each row's reading by the row's value."""
        values = self.background + values
        return np.where(self.is_speed[self.reading], values / self._speed(values)[self.reading], 1.0)
