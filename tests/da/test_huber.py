import numpy as np
import pytest
from mpi4py import MPI

from da.correlated_error import given_error
from da.cost import CostFunction
from da.huber import Huber, HuberCost, polished
from da.minimise import minimise
from small_problem import dense, make_problem, relative_difference
from test_cost import Cubic, SquareOperator, Unnoticed

COMM = MPI.COMM_SELF


def cost_of(huber, kind="linear", weight=1.0):
    problem = make_problem(COMM, "tsvd", 8)
    transform, operator, error, innovation = problem.arguments
    transform = {"cubic": Cubic, "unnoticed": Unnoticed}.get(kind, lambda t: t)(transform)
    operator = SquareOperator(operator, problem.std) if kind == "square" else operator
    cost = CostFunction(transform, operator, error, innovation, COMM, weight)
    return problem, cost if huber is None else HuberCost(cost, huber)


def reweighted(problem, huber, weight=1.0):
    """w by iteratively reweighted least squares (Holland & Welsch 1977), dense."""
    u, h = dense(problem)
    g, d, w = h @ u / problem.std[:, None], problem.innovation / problem.std, np.zeros(u.shape[1])
    for _ in range(5000):
        z = d - g @ w
        factor = np.where(z < -huber.left, -huber.left / z, np.where(z > huber.right, huber.right / z, 1.0))
        before, w = w, np.linalg.solve(weight * np.eye(len(w)) + g.T @ (factor[:, None] * g), g.T @ (factor * d))
        if np.linalg.norm(w - before) <= 1e-15 * np.linalg.norm(w):
            break
    return w


def test_norm_is_the_papers():
    z = np.array([-5.0, -2.0, -1.0, 0.0, 1.0, 3.0, 7.0])
    huber = Huber(2.0, 3.0)
    expected = [2.0 * 5.0 - 2.0, 2.0, 0.5, 0.0, 0.5, 4.5, 3.0 * 7.0 - 4.5]
    np.testing.assert_allclose(0.5 * huber.root(z) ** 2, expected, rtol=1e-14)
    assert huber.influence(z).tolist() == [-2.0, -2.0, -1.0, 0.0, 1.0, 3.0, 3.0]
    np.testing.assert_allclose(huber.weight(z) * z, huber.influence(z), rtol=1e-15)
    assert huber.curvature(z).tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert np.array_equal(np.sign(huber.root(z)), np.sign(z)) and Huber(2.0).right == 2.0
    assert np.array_equal(Huber(np.inf).root(z), z)


@pytest.mark.parametrize("kind", ["linear", "unnoticed", "cubic", "square"])
def test_taylor_remainder_is_of_second_order(kind):
    _, cost = cost_of(Huber(1.5, 0.7), kind)
    rng = np.random.default_rng(2)
    w, p = rng.normal(size=(2, cost.n_control))
    value, slope = cost.value_and_gradient(w)
    assert value == pytest.approx(cost.value(w), rel=1e-13) and not cost.linear
    steps = 10.0 ** -np.arange(2.0, 6.0)
    remainder = np.array([abs(cost.value(w + h * p) - value - h * slope @ p) for h in steps])
    # ρ'' jumps at the limits, so the remainder is bounded by h² and need not be a parabola
    assert (remainder[1:] < 0.02 * remainder[:-1]).all()
    assert abs(slope @ p) * steps[-1] > 1e3 * remainder[-1]


@pytest.mark.parametrize("kind", ["linear", "unnoticed", "cubic", "square"])
def test_wide_limits_are_the_quadratic_norm(kind):
    _, quadratic = cost_of(None, kind)
    w = np.random.default_rng(3).normal(size=8)
    for limit in (1e9, np.inf):
        _, cost = cost_of(Huber(limit), kind)
        assert cost.parts(w) == pytest.approx(quadratic.parts(w), rel=1e-15, abs=0.0)
        (value, slope), (expected, gradient) = cost.value_and_gradient(w), quadratic.value_and_gradient(w)
        assert value == pytest.approx(expected, rel=1e-15, abs=0.0)
        np.testing.assert_allclose(slope, gradient, rtol=1e-13)
    z = 10.0 ** np.random.default_rng(0).uniform(-9.0, 9.0, 1000)
    assert np.array_equal(Huber(1e9).root(z), z) and (Huber(1e9).weight(z) == 1.0).all()


@pytest.mark.parametrize("weight", [1.0, 0.1])
@pytest.mark.parametrize("huber", [Huber(1.0), Huber(3.0, 0.5), Huber(1e9)])
def test_minimum_is_that_of_reweighted_least_squares(huber, weight):
    problem, cost = cost_of(huber, weight=weight)
    found = minimise(cost, COMM).control
    expected = reweighted(problem, huber, weight)
    assert relative_difference(found, expected) < 1e-5
    better = polished(cost, found)
    assert relative_difference(better, expected) < 1e-10
    assert np.linalg.norm(cost.gradient(better)) < 1e-11 * np.linalg.norm(cost.gradient(0.0 * found))


def test_a_gross_error_does_little_harm():
    problem, cost = cost_of(Huber(2.0))
    spoilt = problem.innovation.copy()
    spoilt[3] += 1e4 * problem.std[3]
    quadratic = [CostFunction(*problem.arguments[:3], d, COMM) for d in (problem.innovation, spoilt)]
    robust = HuberCost(quadratic[1], Huber(2.0))
    moved = relative_difference(minimise(robust, COMM).control, minimise(cost, COMM).control)
    assert moved < 1e-2 * relative_difference(*(minimise(c, COMM).control for c in reversed(quadratic)))


def test_hessian_product_is_the_gradients_difference():
    _, cost = cost_of(Huber(1.0))
    rng = np.random.default_rng(4)
    w, p = rng.normal(size=(2, 8))
    h = 1e-7
    difference = (cost.gradient(w + h * p) - cost.gradient(w - h * p)) / (2.0 * h)
    np.testing.assert_allclose(cost.hessian_product(p, at=w), difference, rtol=1e-5)


def test_what_is_refused():
    with pytest.raises(ValueError, match="limits 1.0 and -2.0 of Huber"):
        Huber(1.0, -2.0)
    problem = make_problem(COMM)
    error = given_error(np.diag(problem.std**2), problem.operator.rows, COMM)
    with pytest.raises(ValueError, match="Huber's norm needs errors that are independent"):
        HuberCost(CostFunction(problem.transform, problem.operator, error, problem.innovation, COMM), Huber(1.0))
