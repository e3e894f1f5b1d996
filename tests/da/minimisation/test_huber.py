import numpy as np
import pytest
from costs import Cubic, SquareOperator, Unnoticed
from mpi4py import MPI
from scipy.optimize import lsq_linear
from small_problem import N_OBSERVED, dense, make_problem, places, relative_difference

from da.analysis import analyse
from da.minimisation.cost import CostFunction
from da.minimisation.huber import Huber, block_precisions, limited
from da.minimisation.huber_cost import huber_cost, polished
from da.minimisation.minimise import minimise
from da.observation.correlated_error import correlated_error
from da.observation.correlation import correlation_matrix
from da.observation.diagonal_error import DiagonalError
from da.outer_loops import analyse_outer

COMM = MPI.COMM_SELF
CORRELATED = {"length": 8.0, "kind": "soar", "nugget": 0.05}
EVERY_R = pytest.mark.parametrize("correlated", [False, True], ids=["diagonal", "correlated"])


def error_of(problem, correlated):
    if not correlated:
        return problem.error
    position, kind = places(problem.index)
    return correlated_error(problem.std, position, kind, rows=problem.operator.rows, comm=COMM, **CORRELATED)


def correlations(problem, correlated):
    """C, dense."""
    if not correlated:
        return np.eye(N_OBSERVED)
    position, kind = places(problem.index)
    return correlation_matrix(position, **CORRELATED) * (kind[:, None] == kind)


def cost_of(huber, kind="linear", weight=1.0, correlated=False):
    problem = make_problem(COMM, "tsvd", 8)
    transform, operator, _, innovation = problem.arguments
    transform = {"cubic": Cubic, "unnoticed": Unnoticed}.get(kind, lambda t: t)(transform)
    operator = SquareOperator(operator, problem.std) if kind == "square" else operator
    cost = CostFunction(transform, operator, error_of(problem, correlated), innovation, COMM, weight)
    return problem, cost if huber is None else huber_cost(cost, huber)


def reweighted(problem, huber, weight=1.0):
    """w by iteratively reweighted least squares (Holland & Welsch 1977), dense, for a diagonal R."""
    u, h = dense(problem)
    g, d, w = h @ u / problem.std[:, None], problem.innovation / problem.std, np.zeros(u.shape[1])
    low, high = huber.limits
    for _ in range(5000):
        z = d - g @ w
        factor = np.where(z < -low, -low / z, np.where(z > high, high / z, 1.0))
        before, w = w, np.linalg.solve(weight * np.eye(len(w)) + g.T @ (factor[:, None] * g), g.T @ (factor * d))
        if np.linalg.norm(w - before) <= 1e-15 * np.linalg.norm(w):
            break
    return w


def from_the_dual(problem, huber, weight, correlated):
    """w = Gᵀ q / a, q of least ½ qᵀ (C + G Gᵀ / a) q − qᵀ D⁻¹ d within the limits, by SciPy's active sets."""
    u, h = dense(problem)
    g, d, c = h @ u / problem.std[:, None], problem.innovation / problem.std, correlations(problem, correlated)
    root, spread = np.linalg.cholesky(c + g @ g.T / weight), np.sqrt(np.diag(np.linalg.inv(c)))
    bounds = (-huber.limits[0] * spread, huber.limits[1] * spread)
    q = lsq_linear(root.T, np.linalg.solve(root, d), bounds, method="bvls", tol=1e-15).x
    return g.T @ q / weight


def test_norm_is_the_papers():
    z = np.array([-5.0, -2.0, -1.0, 0.0, 1.0, 3.0, 7.0])
    force, gross = Huber(2.0, 3.0).split(z, DiagonalError(np.ones(7)), ())
    assert force.tolist() == [-2.0, -2.0, -1.0, 0.0, 1.0, 3.0, 3.0]
    assert gross.tolist() == [-3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]
    expected = [2.0 * 5.0 - 2.0, 2.0, 0.5, 0.0, 0.5, 4.5, 3.0 * 7.0 - 4.5]
    np.testing.assert_allclose(0.5 * force * (z + gross), expected, rtol=1e-14)
    assert Huber(2.0).limits == (2.0, 2.0)


@EVERY_R
@pytest.mark.parametrize("kind", ["linear", "unnoticed", "cubic", "square"])
def test_taylor_remainder_is_of_second_order(kind, correlated):
    _, cost = cost_of(Huber(1.5, 0.7), kind, correlated=correlated)
    rng = np.random.default_rng(2)
    w, p = rng.normal(size=(2, cost.n_control))
    value, slope = cost.value_and_gradient(w)
    assert value == pytest.approx(cost.value(w), rel=1e-13) and not cost.linear
    steps = 10.0 ** -np.arange(2.0, 6.0)
    remainder = np.array([abs(cost.value(w + h * p) - value - h * slope @ p) for h in steps])
    # ρ'' jumps at the limits, so the remainder is bounded by h² and need not be a parabola
    assert (remainder[1:] < 0.02 * remainder[:-1]).all()
    assert abs(slope @ p) * steps[-1] > 1e3 * remainder[-1]


@EVERY_R
@pytest.mark.parametrize("kind", ["linear", "unnoticed", "cubic", "square"])
def test_wide_limits_are_the_quadratic_norm(kind, correlated):
    _, quadratic = cost_of(None, kind, correlated=correlated)
    w, close = np.random.default_rng(3).normal(size=8), 1e-12 if correlated else 1e-15
    for limit in (1e9, np.inf):
        _, cost = cost_of(Huber(limit), kind, correlated=correlated)
        assert cost.parts(w) == pytest.approx(quadratic.parts(w), rel=close, abs=0.0)
        (value, slope), (expected, gradient) = cost.value_and_gradient(w), quadratic.value_and_gradient(w)
        assert value == pytest.approx(expected, rel=close, abs=0.0)
        np.testing.assert_allclose(slope, gradient, rtol=1e-11)


@pytest.mark.parametrize("weight", [1.0, 0.1])
@pytest.mark.parametrize("huber", [Huber(1.0), Huber(3.0, 0.5), Huber(1e9)])
@EVERY_R
def test_minimum_equals_dense(huber, weight, correlated):
    problem, cost = cost_of(huber, weight=weight, correlated=correlated)
    found = minimise(cost, COMM, rounding_tolerance=1e-6).control
    expected = from_the_dual(problem, huber, weight, correlated)
    assert relative_difference(found, expected) < 1e-5
    better = polished(cost, found)
    assert relative_difference(better, expected) < 1e-10
    assert np.linalg.norm(cost.gradient(better)) < 1e-11 * np.linalg.norm(cost.gradient(0.0 * found))
    if not correlated:
        assert relative_difference(better, reweighted(problem, huber, weight)) < 1e-10


@EVERY_R
def test_a_gross_error_does_little_more_harm_than_a_missing_reading(correlated):
    problem, rng = make_problem(COMM, "tsvd", 8), np.random.default_rng(7)
    u, h = dense(problem)
    truth, error = rng.normal(size=8), error_of(problem, correlated)
    root = np.linalg.cholesky(correlations(problem, correlated))
    good = h @ u @ truth + problem.std * (root @ rng.normal(size=N_OBSERVED))

    def control(d, r, huber=None):
        return analyse_outer(*problem.arguments[:2], r, d, COMM, huber=huber).control

    for k in (3, 20):
        spoilt, missing = good.copy(), np.zeros(N_OBSERVED)
        spoilt[k] += 1e4 * problem.std[k]
        missing[k] = 1e12 * problem.std[k] ** 2
        expected = control(good, error.inflated(missing))
        robust, usual = control(spoilt, error, Huber(3.0)), control(spoilt, error)
        # the force of three standard deviations that the reading still has, and nothing through its neighbours
        assert np.linalg.norm(robust - expected) < np.linalg.norm(expected - truth)
        assert np.linalg.norm(usual - expected) > 50.0 * np.linalg.norm(expected - truth)


@EVERY_R
@pytest.mark.parametrize("huber", [Huber(0.5), Huber(1.0, 2.0), Huber(np.inf)])
def test_errors_as_they_counted_give_the_same_analysis(huber, correlated):
    problem = make_problem(COMM, "tsvd", 8)
    transform, operator, _, innovation = problem.arguments
    error = error_of(problem, correlated)
    robust = analyse_outer(transform, operator, error, innovation, COMM, huber=huber)
    residual = innovation - operator.observe(robust.increment)
    counted = huber.counted(residual, error)
    quadratic = analyse(transform, operator, counted, innovation, COMM)
    assert relative_difference(quadratic.control, robust.control) < 1e-10
    _, gross = huber.split(residual / problem.std, error, block_precisions(error))
    assert np.array_equal(counted.std_local > 1.0001 * problem.std, gross != 0.0)
    assert (gross != 0.0).any() == (huber.left < np.inf)


@EVERY_R
def test_hessian_is_the_gradients_difference(correlated):
    _, cost = cost_of(Huber(1.0), correlated=correlated)
    rng = np.random.default_rng(4)
    w, p = rng.normal(size=(2, 8))
    h = 1e-7
    difference = (cost.gradient(w + h * p) - cost.gradient(w - h * p)) / (2.0 * h)
    np.testing.assert_allclose(cost.hessian_at(w)(p), difference, rtol=1e-5)


@pytest.mark.parametrize("kind", ["unnoticed", "square"])
def test_no_hessian_where_it_is_not_kept(kind):
    _, cost = cost_of(Huber(1.0), kind)
    with pytest.raises(ValueError, match="for linear U and H only"):
        cost.hessian_at(np.zeros(8))


@pytest.mark.parametrize("length", [0.3, 3.0, 30.0])
def test_forces_within_limits_equal_scipys(length):
    rng = np.random.default_rng(5)
    matrix = correlation_matrix(20.0 * rng.random((60, 3)), length, "soar", 1e-3)
    root = np.linalg.cholesky(matrix)
    for size in (0.1, 1.0, 30.0):
        z, low, high = size * rng.normal(size=60), -rng.random(60) - 0.1, rng.random(60) + 0.1
        force, gross = limited(np.linalg.inv(matrix), z, low, high)
        expected = lsq_linear(root.T, np.linalg.solve(root, z), (low, high), method="bvls", tol=1e-15).x
        np.testing.assert_allclose(force, expected, atol=1e-9)
        np.testing.assert_allclose(matrix @ force + gross, z, atol=1e-10 * max(1.0, size))
        assert (gross[(force > low) & (force < high)] == 0.0).all() and (gross * force >= 0.0).all()


@pytest.mark.parametrize("tries", [0, 50])
def test_forces_are_found_where_most_readings_are_wrong(tries, monkeypatch):
    # no tries: limits are changed one at a time from the start
    monkeypatch.setattr("da.minimisation.huber._TRIES", tries)
    rng = np.random.default_rng(0)
    matrix = correlation_matrix(rng.random((100, 3)) * [500.0, 400.0, 60.0], 200.0, "gaspari-cohn", 1e-3)
    spread = np.sqrt(np.diag(np.linalg.inv(matrix)))
    for _ in range(4):
        z = np.linalg.cholesky(matrix) @ rng.normal(size=100) + 5.0 * rng.normal(size=100) * (rng.random(100) < 0.6)
        force, gross = limited(np.linalg.inv(matrix), z, -spread, spread)
        assert (np.abs(force) <= spread * (1.0 + 1e-9)).all() and (gross * force >= 0.0).all()
        np.testing.assert_allclose(matrix @ force + gross, z, atol=1e-9)


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="limits 1.0 and -2.0 of Huber"):
        Huber(1.0, -2.0)
