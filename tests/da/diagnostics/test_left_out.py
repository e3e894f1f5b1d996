import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, make_problem

from da.analysis import analyse
from da.diagnostics.influence import influence
from da.diagnostics.left_out import left_out, neighbourhoods, without_neighbourhoods
from da.diagnostics.posterior import posterior
from da.minimisation.hessian import ObservationHessian
from da.observation.correlated_error import given_error
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF


def error_of(problem, rows, correlated):
    std = problem.std[rows]
    if not correlated:
        return diagonal_error(std, slice(0, len(rows)))
    near = np.exp(-np.abs(rows[:, None] - rows[None]) / 2.0)
    return given_error(near * np.outer(std, std), slice(0, len(rows)), COMM)


def analysed(problem, rows, correlated):
    """Analysis of some of the readings, and its residual at all."""
    operator, error = selection(problem.index[rows], N, COMM), error_of(problem, rows, correlated)
    found = analyse(problem.transform, operator, error, problem.innovation[rows], COMM)
    return operator, error, problem.innovation - found.increment[problem.index]


def told(problem, position, near, correlated):
    operator, error, residual = analysed(problem, np.arange(40), correlated)
    of = posterior(ObservationHessian(problem.transform, operator, error, COMM).information)
    without = without_neighbourhoods(of, problem.transform, operator, error, position, near, COMM)
    return left_out(without, error, residual, COMM), influence(of, problem.transform, operator, error, residual)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("near", [0.0, 2.5])
def test_equals_analyses_without_a_reading_and_its_neighbours(near, correlated):
    problem = make_problem(COMM, "tsvd", 12)
    position = np.column_stack([np.arange(40) // 2, np.arange(40) % 2, np.zeros(40)]).astype(float)
    found, alone = told(problem, position, near, correlated)
    for i in range(40):
        apart = np.linalg.norm(position - position[i], axis=1)
        kept = np.flatnonzero((apart > near) & (np.arange(40) != i))
        assert len(kept) == 39 or near
        residual = analysed(problem, kept, correlated)[2]
        assert found[i] == pytest.approx(residual[i], rel=1e-7, abs=1e-8 * problem.std[i]), i
    if not near:  # each by itself is what the influence of each says
        np.testing.assert_allclose(found, alone.left_out, rtol=1e-8)


def test_neighbours_are_the_nearest_sixteen_at_most_and_each_reading_is_its_own():
    position = np.random.default_rng(0).random((60, 3))
    position[7] = position[3]  # two instruments on one mast
    for i, group in enumerate(neighbourhoods(position, 0.4)):
        apart = np.linalg.norm(position - position[i], axis=1)
        order = np.argsort(apart, kind="stable")
        expected = [k for k in order if k != i and apart[k] <= 0.4][:15]
        assert group[0] == i and set(group[1:]) == set(expected)
    assert set(neighbourhoods(position, 0.0)[7]) == {3, 7}
    assert [g.tolist() for g in neighbourhoods(position[:1], 9.0)] == [[0]]
    assert neighbourhoods(position[:0], 9.0) == []


def test_a_reading_that_its_error_makes_known_by_the_others_has_none():
    problem = make_problem(COMM, "tsvd", 12)
    operator, error, residual = analysed(problem, np.arange(40), False)
    of = posterior(ObservationHessian(problem.transform, operator, error, COMM).information)
    without = without_neighbourhoods(of, problem.transform, operator, error, np.zeros((40, 3)), -1.0, COMM)
    without.precision[5][:] = -1.0
    found = left_out(without, error, residual, COMM)
    assert np.isnan(found[5]) and np.isfinite(np.delete(found, 5)).all()
