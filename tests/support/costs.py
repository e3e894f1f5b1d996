"""Transforms and operators that are not linear, and costs made of them."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from small_problem import make_problem

from da.minimisation.cost import CostFunction

COMM = MPI.COMM_SELF


@dataclass(frozen=True)
class Cubic:
    """δx = U (w + 0.1 w³): a transform that is not linear."""

    inner: object
    linear = False

    @property
    def n_control(self):
        return self.inner.n_control

    def apply(self, control):
        return self.inner.apply(control + 0.1 * control**3)

    def adjoint(self, increment, at=None):
        return (1.0 + 0.3 * at**2) * self.inner.adjoint(increment)


@dataclass(frozen=True)
class Unnoticed:
    """A linear transform that does not say so: it takes the other path through the cost."""

    inner: object
    linear = False

    @property
    def n_control(self):
        return self.inner.n_control

    def apply(self, control):
        return self.inner.apply(control)

    def adjoint(self, increment, at=None):
        return self.inner.adjoint(increment)


@dataclass(frozen=True)
class SquareOperator:
    """h(x) = (H x)² / scale: an observation operator that is not linear."""

    inner: object
    scale: np.ndarray
    linear = False

    @property
    def rows(self):
        return self.inner.rows

    def observe(self, state):
        return self.inner.observe(state) ** 2 / self.scale

    def adjoint(self, values, at=None):
        return self.inner.adjoint(2.0 * self.inner.observe(at) / self.scale * values)


def cost_of(kind, weight=1.0):
    problem = make_problem(COMM, "tsvd", 8)
    transform, operator, error, innovation = problem.arguments
    if kind == "cubic":
        transform = Cubic(transform)
    if kind == "unnoticed":
        transform = Unnoticed(transform)
    if kind == "square":
        operator = SquareOperator(operator, problem.std)
    return problem, CostFunction(transform, operator, error, innovation, COMM, weight)
