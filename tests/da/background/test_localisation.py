"""Localised analyses against the dense covariance that they stand for."""

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from ranks import assert_same_on_ranks
from small_problem import N_POINTS, VARIABLES, N, dense, make_problem, places, relative_difference

from da.analysis import analyse
from da.background.localisation import Taper, check_between, localised_transform
from da.observation.correlation import gaspari_cohn
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF
EVERYWHERE = np.full(2, np.inf)


def taper(length=(2.0, 2.0), between=1.0, untapered=0, rows=slice(None)):
    position, variable = places(np.arange(N))
    factors = np.array([[1.0, between], [between, 1.0]])
    return Taper(position[rows], variable[rows], np.array(length), EVERYWHERE, factors, untapered)


def dense_covariance(problem, of):
    """B_loc of one length, written out."""
    u, _ = dense(problem)
    position, variable = places(np.arange(N))
    distance = gaspari_cohn(np.abs(position[:, None, 0] - position[None, :, 0]) / of.horizontal[0])
    k = of.untapered
    return of.between[variable[:, None], variable[None]] * (u[:, :k] @ u[:, :k].T + distance * (u[:, k:] @ u[:, k:].T))


@pytest.mark.parametrize("untapered", [0, 3])
@pytest.mark.parametrize("between", [1.0, 0.3, 0.0])
def test_the_analysis_is_that_of_the_dense_covariance(untapered, between):
    problem = make_problem(COMM, "tsvd", 12)
    of = taper(between=between, untapered=untapered)
    b, (_, h) = dense_covariance(problem, of), dense(problem)
    made = localised_transform(problem.transform, of, problem.operator)
    u = made.modes.vectors
    assert relative_difference(h @ u @ u.T @ h.T, h @ b @ h.T) < 1e-10
    assert relative_difference(u @ u.T @ h.T, b @ h.T) < 1e-10
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + np.diag(problem.std**2))
    found = analyse(made, *problem.arguments[1:], COMM)
    assert relative_difference(found.increment, gain @ problem.innovation) < 1e-10


def test_without_a_taper_nothing_changes():
    problem = make_problem(COMM, "tsvd", 12)
    made = localised_transform(problem.transform, taper(length=EVERYWHERE, untapered=2), problem.operator)
    with_taper, without = (analyse(u, *problem.arguments[1:], COMM).increment for u in (made, problem.transform))
    assert relative_difference(with_taper, without) < 1e-10


def test_adjoint():
    problem = make_problem(COMM, "reduced")
    made = localised_transform(problem.transform, taper(), problem.operator)
    rng = np.random.default_rng(0)
    w, dx = rng.normal(size=made.n_control), rng.normal(size=N)
    assert made.apply(w) @ dx == pytest.approx(w @ made.adjoint(dx), rel=1e-12)


def test_far_from_every_reading_nothing_moves():
    problem = make_problem(COMM, "tsvd", 12)
    at_start = selection(np.array([0, 1, 5]), N, COMM)
    made = localised_transform(problem.transform, taper(), at_start)
    increment = made.apply(np.ones(made.n_control)).reshape(N_POINTS, len(VARIABLES))
    assert np.abs(increment[:5]).min() > 0.0
    assert not increment[places(2 * np.arange(N_POINTS))[0][:, 0] > 4.3].any()


def test_a_variable_switched_off_is_not_moved_by_the_other():
    problem = make_problem(COMM, "tsvd", 12)
    speeds = selection(np.arange(0, N, 20), N, COMM)
    made = localised_transform(problem.transform, taper(between=0.0), speeds)
    increment = made.apply(np.ones(made.n_control)).reshape(N_POINTS, len(VARIABLES))
    assert increment[:, 0].any() and not increment[:, 1].any()


def test_two_sensors_at_one_place_are_one_direction():
    problem = make_problem(COMM, "tsvd", 12)
    twice = selection(np.array([40, 40, 90]), N, COMM)
    made = localised_transform(problem.transform, taper(), twice)
    assert made.n_control == 2
    b, h = dense_covariance(problem, taper()), np.eye(N)[[40, 40, 90]]
    assert relative_difference(made.modes.vectors @ made.modes.vectors.T @ h.T, b @ h.T) < 1e-9


def test_unlike_lengths_leave_nearly_a_covariance():
    position, variable = places(np.arange(N))
    of = taper(length=(1.0, 3.0))
    _, factor = of.factors(of)
    assert np.array_equal(factor, factor.T) and np.allclose(np.diag(factor), 1.0)
    eigenvalues = np.linalg.eigvalsh(factor)
    assert eigenvalues[0] > -1e-2 * eigenvalues[-1]
    problem = make_problem(COMM, "tsvd", 12)
    made = localised_transform(problem.transform, of, problem.operator)
    covariance = made.modes.vectors[problem.index] @ made.modes.vectors[problem.index].T
    assert np.linalg.eigvalsh(covariance)[0] > -1e-10 * np.abs(covariance).max()


def test_one_variable_without_length_and_one_with_share_nothing():
    of = taper(length=(np.inf, 3.0))
    _, factor = of.factors(of)
    mixed = of.variable[:, None] != of.variable[None]
    assert not factor[mixed].any() and np.array_equal(factor[::2, ::2], np.ones((N_POINTS, N_POINTS)))


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_on_several_ranks(tmp_path, mpirun, ranks):
    program = Path(__file__).with_name("parallel_localisation.py")
    assert len(assert_same_on_ranks(mpirun, tmp_path, program, ranks=(1, ranks))) == 4


def test_factors_that_no_covariance_has_are_refused():
    check_between(np.array([[1.0, 0.5], [0.5, 1.0]]))
    with pytest.raises(ValueError, match="no covariance has these factors"):
        check_between(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    with pytest.raises(ValueError, match="not symmetric"):
        check_between(np.array([[1.0, 0.5], [0.0, 1.0]]))


def test_what_does_not_fit_is_refused():
    problem = make_problem(COMM, "tsvd", 6)
    with pytest.raises(ValueError, match="7 leading modes without taper, but there are 6 modes"):
        localised_transform(problem.transform, taper(untapered=7), problem.operator)
    with pytest.raises(ValueError, match="taper of 10 values, expected 300"):
        localised_transform(problem.transform, taper(rows=slice(10)), problem.operator)
    with pytest.raises(ValueError, match="length is not positive"):
        taper(length=(0.0, 1.0))
