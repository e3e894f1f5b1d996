import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, dense, make_problem

from da.analysis import analyse
from da.diagnostics.influence import influence, influence_by_group
from da.diagnostics.posterior import posterior
from da.minimisation.hessian import ObservationHessian
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF


def covariance_of(problem, correlated):
    """R, with readings correlated in threes or not at all."""
    near = np.arange(40)[:, None] // 3 == np.arange(40) // 3
    matrix = np.where(near, 0.6 if correlated else 0.0, 0.0)
    np.fill_diagonal(matrix, 1.0)
    return matrix * np.outer(problem.std, problem.std)


def analysed(problem, r, weight=1.0):
    error = diagonal_error(np.sqrt(np.diag(r)), slice(0, len(r)))
    if np.count_nonzero(r) > len(r):
        error = given_error(r, slice(0, len(r)), COMM)
    transform, operator, _, innovation = problem.arguments
    of = posterior(ObservationHessian(transform, operator, error, COMM).information, weight)
    found = analyse(transform, operator, error, innovation, COMM, background_weight=weight)
    return influence(of, transform, operator, error, innovation - operator.observe(found.increment)), of


@pytest.mark.parametrize("block", [256, 7])
@pytest.mark.parametrize("weight", [1.0, 5.0])
@pytest.mark.parametrize("correlated", [False, True])
def test_hat_matrix_equals_dense(correlated, weight, block, monkeypatch):
    monkeypatch.setattr("da.diagnostics.influence._COLUMNS", block)
    problem = make_problem(COMM, "tsvd", 12)
    u, h = dense(problem)
    r = covariance_of(problem, correlated)
    hbh = h @ u @ u.T @ h.T / weight
    told, of = analysed(problem, r, weight)
    np.testing.assert_allclose(told.influence, np.diag(hbh @ np.linalg.inv(hbh + r)), rtol=1e-9)
    assert told.influence.sum() == pytest.approx(of.degrees_of_freedom, rel=1e-11)
    # the textbook's prediction of each reading from all the others
    inverse = np.linalg.inv(hbh + r)
    expected = inverse @ problem.innovation / np.sqrt(np.diag(inverse))
    np.testing.assert_allclose(told.standardised, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("correlated", [False, True])
def test_equals_leaving_each_reading_out(correlated):
    problem = make_problem(COMM, "tsvd", 12)
    r = covariance_of(problem, correlated)
    told, _ = analysed(problem, r)
    for i in range(40):
        others = np.arange(40) != i
        if correlated:
            error = given_error(r[np.ix_(others, others)], slice(0, 39), COMM)
        else:
            error = diagonal_error(problem.std[others], slice(0, 39))
        operator = selection(problem.index[others], N, COMM)
        without = analyse(problem.transform, operator, error, problem.innovation[others], COMM)
        left = problem.innovation[i] - without.increment[problem.index[i]]
        assert told.left_out[i] == pytest.approx(left, rel=1e-7, abs=1e-8 * problem.std[i])


def test_standardised_departures_have_unit_spread():
    problem = make_problem(COMM, "tsvd", 12)
    transform, operator, error, _ = problem.arguments
    of = posterior(ObservationHessian(transform, operator, error, COMM).information)
    rng = np.random.default_rng(9)
    squares = []
    for _ in range(300):
        d = operator.observe(transform.apply(rng.normal(size=12))) + problem.std * rng.normal(size=40)
        u, h = dense(problem)
        residual = d - h @ u @ of.covariance @ u.T @ h.T @ (d / problem.std**2)
        squares.append(influence(of, transform, operator, error, residual).standardised ** 2)
    assert np.mean(squares) == pytest.approx(1.0, abs=0.05)


def test_a_reading_without_influence_and_one_that_is_followed():
    problem = make_problem(COMM, "tsvd", 12)
    std = problem.std.copy()
    std[0], std[1] = 1e6 * std[0], 1e-4 * std[1]
    told, _ = analysed(problem, np.diag(std**2))
    assert told.influence[0] < 1e-9 and told.influence[1] > 1.0 - 1e-6
    assert np.isfinite(told.left_out).all()


def test_by_group():
    groups = influence_by_group([0.25, 0.5, 0.125], np.array(["b", "a", "b"]))
    assert groups == {"a": 0.5, "b": 0.375} and list(groups) == ["a", "b"]
    assert influence_by_group([], []) == {}
