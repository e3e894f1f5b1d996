import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, dense, dense_control, make_problem, relative_difference

from da.analysis import analyse, prepare
from da.background.linear_transform import LinearTransform, product, transposed_product
from da.background.modes import Modes
from da.minimisation.cost import CostFunction
from da.minimisation.hessian import ObservationHessian
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF


def everywhere(kind="tsvd", truncation=8):
    """The problem with a reading of every value, in another order than the state: G would be as large as U."""
    problem = make_problem(COMM, kind, truncation)
    rng = np.random.default_rng(6)
    index, std = rng.permutation(N), 0.5 + rng.random(N)
    error, innovation = diagonal_error(std, slice(None)), rng.normal(size=N)
    return problem.transform, selection(index, N, COMM), error, innovation, index, std


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("block", [1 << 20, 8 * 7])
def test_information_and_pull_equal_dense(block, correlated, monkeypatch):
    monkeypatch.setattr("da.observation.matrix_operator._BLOCK", block)
    transform, operator, error, innovation, index, std = everywhere()
    covariance = np.diag(std**2)
    if correlated:
        covariance[3, 4] = covariance[4, 3] = 0.5 * std[3] * std[4]
        error = given_error(covariance, slice(0, N), COMM)
    hessian = ObservationHessian(transform, operator, error, COMM)
    hu = (transform.scale[:, None] * transform.modes.vectors)[index]
    information = hu.T @ np.linalg.solve(covariance, hu)
    np.testing.assert_allclose(hessian.information, information, rtol=1e-11, atol=1e-11 * information.max())
    assert hessian.whitened is None  # a second copy of the modes is not kept
    for w in (np.zeros(8), np.random.default_rng(1).normal(size=8)):
        left = innovation - hu @ w
        squared, pulled = hessian.misfit_and_pull(innovation, w)
        assert squared == pytest.approx(left @ np.linalg.solve(covariance, left), rel=1e-12)
        np.testing.assert_allclose(pulled, hu.T @ np.linalg.solve(covariance, left), rtol=1e-10, atol=1e-9)
        misfit = hessian.misfit(innovation, w)
        assert misfit @ misfit == pytest.approx(squared, rel=1e-12)


@pytest.mark.parametrize("kind, truncation", [("tsvd", 8), ("reduced", None)])
def test_analysis_of_readings_everywhere(kind, truncation):
    transform, operator, error, innovation, index, std = everywhere(kind, truncation)
    g = (transform.scale[:, None] * transform.modes.vectors)[index] / std[:, None]
    expected = np.linalg.solve(np.eye(g.shape[1]) + g.T @ g, g.T @ (innovation / std))
    found = analyse(transform, operator, error, innovation, COMM)
    assert relative_difference(found.control, expected) < 1e-9


def test_an_analysis_passes_the_modes_twice():
    transform, operator, error, innovation, *_ = everywhere()
    hessian = prepare(transform, operator, error, COMM)
    passes = []

    class Counted:
        linear, n_control = True, transform.n_control

        def apply(self, control):
            passes.append("U")
            return transform.apply(control)

        def adjoint(self, increment, at=None):
            passes.append("Uᵀ")
            return transform.adjoint(increment)

    counted = Counted()
    object.__setattr__(hessian, "transform", counted)
    analyse(counted, operator, error, innovation, COMM, hessian=hessian)
    assert passes == ["Uᵀ", "U"]


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_prepared_sensors_serve_many_innovations(weight):
    problem = make_problem(COMM)
    hessian = prepare(*problem.arguments[:3], COMM, weight)
    rng = np.random.default_rng(3)
    for _ in range(3):
        innovation = rng.normal(size=40) * problem.std
        arguments = (*problem.arguments[:3], innovation, COMM)
        found = analyse(*arguments, background_weight=weight, hessian=hessian)
        expected = analyse(*arguments, background_weight=weight)
        np.testing.assert_array_equal(found.control, expected.control)
        # without the root the search takes many steps to the same place
        slow = analyse(*arguments, background_weight=weight, root=None)
        assert relative_difference(slow.increment, found.increment) < 1e-10
        assert found.iterations <= 3 < slow.iterations


def test_what_was_prepared_must_be_of_the_same_sensors():
    problem, other = make_problem(COMM), make_problem(COMM)
    hessian = prepare(*problem.arguments[:3], COMM)
    with pytest.raises(ValueError, match="what was prepared is of another operator"):
        analyse(problem.transform, other.operator, problem.error, problem.innovation, COMM, hessian=hessian)


def test_trace_with_a_root_tells_the_gradient_of_the_cost():
    problem = make_problem(COMM)
    found = analyse(*problem.arguments, COMM, gradient_tolerance=1e-3)
    cost = CostFunction(*problem.arguments, COMM)
    start, last = found.trace[0].gradient_norm, found.trace[-1]
    assert start == pytest.approx(np.linalg.norm(cost.gradient(np.zeros(cost.n_control))), rel=1e-12)
    assert last.gradient_norm == pytest.approx(np.linalg.norm(cost.gradient(found.control)), abs=1e-9 * start)
    assert (last.background, last.observation) == pytest.approx(cost.parts(found.control), rel=1e-9)


def test_very_exact_readings():
    # condition of the Hessian 1e12 and more: TAO alone does not get there
    problem = make_problem(COMM, "tsvd", 20, std=1e-6)
    found = analyse(*problem.arguments, COMM)
    u, h = dense(problem)
    exact = u @ np.linalg.lstsq(h @ u / problem.std[:, None], problem.innovation / problem.std, rcond=None)[0]
    assert relative_difference(found.increment, exact) < 1e-4
    assert relative_difference(found.increment, u @ dense_control(problem)) < 1e-4


@pytest.mark.parametrize("kind", ["reduced", "tsvd"])
@pytest.mark.parametrize("scaled", [True, False])
def test_float32_modes_leave_the_analysis_within_1e_6(kind, scaled):
    problem = make_problem(COMM, kind, 12)
    modes, scale = problem.transform.modes, problem.transform.scale if scaled else None
    single = Modes(modes.vectors.astype(np.float32), None, modes.mean, modes.n_samples, modes.name)
    found, expected = (
        analyse(LinearTransform(of, scale, COMM), *problem.arguments[1:], COMM) for of in (single, modes)
    )
    assert found.increment.dtype == np.float64
    assert relative_difference(found.increment, expected.increment) < 1e-6


@pytest.mark.parametrize("shape", [(0, 5), (7, 1), (5000, 300)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_sums_over_float32_modes_are_float64(shape, order):
    rng = np.random.default_rng(0)
    vectors = np.array(rng.normal(size=shape), np.float32, order=order)
    w, x = rng.normal(size=shape[1]), rng.normal(size=shape[0])
    double = vectors.astype(np.float64)
    np.testing.assert_allclose(product(vectors, w), double @ w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(transposed_product(vectors, x), double.T @ x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n", [2, 3])
def test_readings_everywhere_over_ranks(mpirun, n):
    mpirun(n, "tests/da/minimisation/parallel_hessian.py")
