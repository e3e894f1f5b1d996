import numpy as np
import pytest
from costs import cost_of
from mpi4py import MPI
from small_problem import dense, make_problem

from da.minimisation.cost import CostFunction

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("weight", [1.0, 0.1])
@pytest.mark.parametrize("kind", ["linear", "unnoticed"])
def test_equals_dense(kind, weight):
    problem, cost = cost_of(kind, weight)
    u, h = dense(problem)
    w = np.random.default_rng(1).normal(size=8)
    misfit = problem.innovation - h @ u @ w
    background, observed = 0.5 * weight * w @ w, 0.5 * np.sum((misfit / problem.std) ** 2)
    gradient = weight * w - u.T @ h.T @ (misfit / problem.std**2)
    assert cost.parts(w) == pytest.approx((background, observed), rel=1e-12)
    assert cost.value(w) == pytest.approx(background + observed, rel=1e-12)
    assert cost.background(w) == pytest.approx(background)
    value, slope = cost.value_and_gradient(w)
    assert value == pytest.approx(cost.value(w), rel=1e-13)
    np.testing.assert_allclose(slope, gradient, rtol=1e-10, atol=1e-10 * np.abs(gradient).max())
    np.testing.assert_array_equal(cost.gradient(w), slope)


@pytest.mark.parametrize("kind", ["linear", "unnoticed", "cubic", "square"])
def test_taylor_remainder_is_of_second_order(kind):
    _, cost = cost_of(kind)
    rng = np.random.default_rng(2)
    w, p = rng.normal(size=(2, cost.n_control))
    value, slope = cost.value_and_gradient(w)
    steps = 10.0 ** -np.arange(1.0, 5.0)
    remainder = [abs(cost.value(w + h * p) - value - h * slope @ p) for h in steps]
    orders = np.diff(np.log10(remainder)) / np.diff(np.log10(steps))
    np.testing.assert_allclose(orders[1:], 2.0, atol=0.02)


def test_hessian_product():
    problem, cost = cost_of("linear", 0.3)
    u, h = dense(problem)
    g = h @ u / problem.std[:, None]
    rng = np.random.default_rng(3)
    w, p = rng.normal(size=(2, 8))
    np.testing.assert_allclose(cost.hessian_product(p), (0.3 * np.eye(8) + g.T @ g) @ p, rtol=1e-11)
    np.testing.assert_allclose(cost.gradient(w + p) - cost.gradient(w), cost.hessian_product(p), rtol=1e-9)
    assert cost.linear


@pytest.mark.parametrize("kind", ["cubic", "square"])
def test_no_hessian_product_where_it_depends_on_the_control(kind):
    _, cost = cost_of(kind)
    assert not cost.linear
    with pytest.raises(ValueError, match="not linear"):
        cost.hessian_product(np.ones(8))


def test_linear_cost_asks_the_transform_once():
    problem, cost = cost_of("linear")
    cost.prepare()
    object.__setattr__(problem.transform, "modes", None)
    cost.value_and_gradient(np.ones(8))
    cost.hessian_product(np.ones(8))


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
def test_weight_must_be_positive(weight):
    with pytest.raises(ValueError, match="background weight"):
        cost_of("linear", weight)


def test_innovation_must_fit_and_be_finite():
    problem = make_problem(COMM)
    with pytest.raises(ValueError, match=r"innovation of shape \(39,\), expected \(40,\)"):
        CostFunction(problem.transform, problem.operator, problem.error, problem.innovation[1:], COMM)
    holed = problem.innovation.copy()
    holed[4] = np.nan
    with pytest.raises(ValueError, match="innovation of observation 4 is nan"):
        CostFunction(problem.transform, problem.operator, problem.error, holed, COMM)
