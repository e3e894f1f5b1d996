import json

import numpy as np
import pytest
from mpi4py import MPI
from ranks import assert_same_on_ranks
from small_problem import N, dense, make_problem, relative_difference

from da.analysis import analyse, statistics
from da.background.linear_transform import LinearTransform
from da.minimisation.tao import METHODS
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("kind, truncation", [("reduced", None), ("tsvd", 12), ("tsvd", None)])
def test_equals_the_gain_in_observation_space(kind, truncation):
    # B has no inverse here: it is of rank S − 1 at most
    problem = make_problem(COMM, kind, truncation)
    u, h = dense(problem)
    b = u @ u.T
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + np.diag(problem.std**2))
    found = analyse(*problem.arguments, COMM)
    assert relative_difference(found.increment, gain @ problem.innovation) < 1e-9


def test_equals_the_gain_in_state_space():
    # as many modes as values, so that B has an inverse
    rng = np.random.default_rng(5)
    problem = make_problem(COMM)
    root = 0.3 * rng.normal(size=(N, N)) + 3.0 * np.eye(N)
    modes = type(problem.transform.modes)(root, None, np.zeros(N), N, "reduced")
    transform = LinearTransform(modes, None, COMM)
    _, h = dense(problem)
    inverse = np.diag(problem.std**-2)
    information = np.linalg.inv(root @ root.T) + h.T @ inverse @ h
    expected = np.linalg.solve(information, h.T @ inverse @ problem.innovation)
    found = analyse(transform, problem.operator, problem.error, problem.innovation, COMM)
    assert relative_difference(found.increment, expected) < 1e-8


def test_background_weight_is_an_inflation_of_b():
    problem = make_problem(COMM)
    weighted = analyse(*problem.arguments, COMM, background_weight=0.1)
    transform = problem.transform
    inflated = LinearTransform(transform.modes, transform.scale / np.sqrt(0.1), COMM)
    expected = analyse(inflated, problem.operator, problem.error, problem.innovation, COMM)
    assert relative_difference(weighted.increment, expected.increment) < 1e-10


@pytest.mark.parametrize("method", METHODS)
def test_methods_agree(method):
    problem = make_problem(COMM, "tsvd", 12)
    expected = analyse(*problem.arguments, COMM)
    assert relative_difference(analyse(*problem.arguments, COMM, method=method).increment, expected.increment) < 1e-10


def test_exact_readings_of_a_possible_state_are_met():
    problem = make_problem(COMM, "tsvd", 5)
    truth = problem.transform.apply(np.array([1.0, -2.0, 0.5, 0.3, 1.5]))
    innovation = problem.operator.observe(truth)
    error = diagonal_error(1e-5 * problem.std, slice(None))
    found = analyse(problem.transform, problem.operator, error, innovation, COMM)
    assert relative_difference(found.increment, truth) < 1e-6


def test_what_is_told():
    problem = make_problem(COMM)
    found = analyse(*problem.arguments, COMM)
    residual = problem.innovation - found.increment[problem.index]
    for told, values in ((found.innovation, problem.innovation), (found.residual, residual)):
        assert told.count == 40
        assert (told.mean, told.std) == pytest.approx((values.mean(), values.std()), rel=1e-10)
        assert told.rms == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-10)
    assert found.chi_squared == pytest.approx(2.0 * found.trace[-1].observation / 40, rel=1e-9)
    assert found.iterations == found.trace[-1].iteration > 0
    assert set(found.seconds) == {"prepare", "minimise", "increment"} and min(found.seconds.values()) >= 0.0
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert summary["cost"] < summary["cost_initial"] and summary["innovation"]["count"] == 40


def test_cost_of_consistent_errors_is_half_the_number_of_readings():
    # E[2 J] = M where B and R are those of the background and the readings (Talagrand 1999)
    problem = make_problem(COMM, "tsvd", 12)
    rng = np.random.default_rng(8)
    costs = []
    for _ in range(40):
        truth = problem.transform.apply(rng.normal(size=12))
        innovation = problem.operator.observe(truth) + problem.std * rng.normal(size=40)
        found = analyse(*problem.arguments[:3], innovation, COMM, gradient_tolerance=1e-6)
        costs.append(2.0 * found.trace[-1].cost / 40)
    assert np.mean(costs) == pytest.approx(1.0, abs=4.0 * np.sqrt(2.0 / 40 / 40))


def test_no_readings_leave_the_background():
    problem = make_problem(COMM)
    found = analyse(problem.transform, selection([], N, COMM), diagonal_error([], slice(0, 0)), np.empty(0), COMM)
    assert not found.increment.any() and found.innovation.count == 0 and np.isnan(found.chi_squared)
    json.dumps(found.summary(), allow_nan=False)


def test_statistics_keep_a_small_spread_about_a_large_mean():
    told = statistics(1e8 + np.array([-1e-3, 1e-3]), COMM)
    assert told.std == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("kind", ["reduced", "tsvd"])
def test_same_on_one_two_and_three_ranks(mpirun, tmp_path, kind):
    assert_same_on_ranks(mpirun, tmp_path, "tests/da/parallel_analysis.py", kind)
