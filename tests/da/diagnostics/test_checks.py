from dataclasses import dataclass, replace

import numpy as np
import pytest
from costs import cost_of
from mpi4py import MPI
from small_problem import make_problem

from da.analysis import analyse
from da.diagnostics.checks import (
    OperatorCheck,
    adjoint_gap,
    cost_gap,
    dense_analysis,
    dot_over,
    gradient_gap,
    relative_gap,
    taylor_slope,
    whole_dot,
)
from da.observation.correlated_error import given_error

COMM = MPI.COMM_SELF


@dataclass(frozen=True)
class Wrong:
    """A cost whose gradient is off by a little in one direction."""

    inner: object
    by: float

    def value_and_gradient(self, control):
        value, gradient = self.inner.value_and_gradient(control)
        return value, gradient * np.where(np.arange(len(control)) == 2, 1.0 + self.by, 1.0)


def test_what_is_no_number_has_failed():
    assert OperatorCheck("a", 1e-13, 1e-12).passed and OperatorCheck("a", 1e-12, 1e-12).passed
    assert not OperatorCheck("a", 2e-12, 1e-12).passed and not OperatorCheck("a", np.nan, 1e-12).passed


def test_adjoint():
    rng = np.random.default_rng(1)
    a, x, y = rng.normal(size=(30, 50)), rng.normal(size=50), rng.normal(size=30)
    dot = dot_over(COMM)
    assert adjoint_gap(lambda v: a @ v, lambda v: a.T @ v, x, y, whole_dot, dot) < 1e-15
    slightly = a.copy()
    slightly[3, 4] += 1e-6
    assert adjoint_gap(lambda v: a @ v, lambda v: slightly.T @ v, x, y, dot, dot) > 1e-11
    assert adjoint_gap(lambda v: 0.0 * y, lambda v: 0.0 * x, x, y, dot, dot) == 0.0
    # one of both being zero is no match
    assert adjoint_gap(lambda v: 0.0 * y, lambda v: a.T @ v, x, y, dot, dot) > 0.01


@pytest.mark.parametrize("kind", ["linear", "unnoticed", "cubic", "square"])
def test_gradients(kind):
    _, cost = cost_of(kind)
    rng = np.random.default_rng(2)
    w, p = 0.1 * rng.normal(size=(2, cost.n_control))
    slope, remainders = taylor_slope(cost, w, p)
    assert slope == pytest.approx(2.0, abs=0.02) and len(remainders) >= 4
    assert gradient_gap(cost, w, p) < 1e-8
    wrong = Wrong(cost, 1e-3)
    assert taylor_slope(wrong, w, p)[0] < 1.5 and gradient_gap(wrong, w, p) > 1e-6


def test_a_cost_without_curvature_has_no_slope():
    class Flat:
        def value_and_gradient(self, control):
            return 1.0, np.zeros(3)

    slope, remainders = taylor_slope(Flat(), np.zeros(3), np.ones(3))
    assert np.isnan(slope) and remainders == []


@pytest.mark.parametrize("kind", ["linear", "unnoticed", "square"])
def test_cost_against_its_operators(kind):
    _, cost = cost_of(kind, 0.3)
    w = np.random.default_rng(3).normal(size=8)
    assert cost_gap(cost, w) < 1e-13
    if kind == "linear":
        other = replace(cost, error=type(cost.error)(1.001 * cost.error.std_local), hessian=None)
        object.__setattr__(other, "hessian", cost.hessian)  # as if what is kept were of another R
        assert cost_gap(other, w) > 1e-5


@pytest.mark.parametrize("weight", [1.0, 0.1])
@pytest.mark.parametrize("correlated", [False, True])
def test_dense_analysis(correlated, weight):
    problem = make_problem(COMM, "tsvd", 12)
    transform, operator, error, innovation = problem.arguments
    if correlated:
        near = np.abs(np.arange(40)[:, None] - np.arange(40)) == 1
        error = given_error((np.eye(40) + 0.4 * near) * np.outer(problem.std, problem.std), operator.rows, COMM)
    rows = np.random.default_rng(4).choice(300, 100, replace=False)
    expected = dense_analysis(transform, operator, error, innovation, rows, COMM, weight)
    found = analyse(transform, operator, error, innovation, COMM, background_weight=weight).increment[rows]
    assert relative_gap(found, expected, COMM) < 1e-9
    assert relative_gap(1.001 * found, expected, COMM) == pytest.approx(1e-3, rel=1e-6)


def test_gap_where_nothing_is_expected():
    assert relative_gap(np.full(4, 0.5), np.zeros(4), COMM) == 1.0
