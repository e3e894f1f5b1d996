"""Modes modulated by the patterns of a taper, against the dense localised covariance that they stand for."""

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, dense, make_problem, places, relative_difference

from da.analysis import analyse
from da.background.localisation import Taper, localised_transform
from da.background.modulation import modulated_transform
from da.diagnostics.posterior import posterior, state_std
from da.minimisation.hessian import ObservationHessian

COMM = MPI.COMM_SELF


def taper(length=(4.0, 4.0), between=1.0, untapered=0, rows=slice(None)):
    position, variable = places(np.arange(N))
    factors = np.array([[1.0, between], [between, 1.0]])
    return Taper(position[rows], variable[rows], np.array(length), np.full(2, np.inf), factors, untapered)


def dense_covariance(problem, of):
    """B_loc, written out, with the taper itself."""
    u, _ = dense(problem)
    between, distance = of.factors(of)
    k = of.untapered
    return between * (u[:, :k] @ u[:, :k].T + distance * (u[:, k:] @ u[:, k:].T))


@pytest.mark.parametrize("untapered", [0, 3])
@pytest.mark.parametrize("between", [1.0, 0.3, 0.0])
def test_the_covariance_is_nearly_that_of_the_taper(untapered, between):
    problem = make_problem(COMM, "tsvd", 12)
    of = taper(between=between, untapered=untapered)
    b = dense_covariance(problem, of)
    u = modulated_transform(problem.transform, of).rows(slice(None))
    np.testing.assert_allclose(np.sum(u**2, axis=1), np.diag(b), rtol=1e-12)
    std = np.sqrt(np.diag(b))
    assert np.abs((u @ u.T - b) / std / std[:, None]).max() < 0.04


def test_the_analysis_is_that_of_its_own_dense_covariance_and_near_the_exact_one():
    problem = make_problem(COMM, "tsvd", 12)
    made, (_, h) = modulated_transform(problem.transform, taper(between=0.3, untapered=2)), dense(problem)
    b = made.rows(slice(None)) @ made.rows(slice(None)).T
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + np.diag(problem.std**2))
    terms = problem.arguments[1:]
    increment = analyse(made, *terms, COMM).increment
    assert relative_difference(increment, gain @ problem.innovation) < 1e-10
    exact = analyse(
        localised_transform(problem.transform, taper(between=0.3, untapered=2), problem.operator), *terms, COMM
    )
    assert relative_difference(increment, exact.increment) < 0.1
    hessian = ObservationHessian(made, problem.operator, problem.error, COMM)
    std = state_std(posterior(hessian.information), made)
    np.testing.assert_allclose(std, np.sqrt(np.diag(b - gain @ h @ b)), rtol=1e-8)


def test_without_a_taper_it_has_the_modes_alone():
    problem = make_problem(COMM, "tsvd", 12)
    made = modulated_transform(problem.transform, taper(length=(np.inf, np.inf), untapered=5))
    assert made.n_control == problem.transform.n_control
    u, v = made.rows(slice(None)), problem.transform.rows(slice(None))
    assert relative_difference(u @ u.T, v @ v.T) < 1e-12


def test_patterns_are_as_many_as_the_taper_needs():
    problem = make_problem(COMM, "tsvd", 12)
    counts = [
        modulated_transform(problem.transform, taper(length=(of, of))).tapered.shape[1] for of in (2.0, 4.0, 40.0)
    ]
    assert counts[0] > counts[1] > counts[2] and counts[2] <= 3


def test_unlike_lengths_leave_a_covariance_with_the_same_variances():
    problem = make_problem(COMM, "tsvd", 12)
    of = taper(length=(2.0, 6.0))
    u = modulated_transform(problem.transform, of).rows(slice(None))
    b = dense_covariance(problem, of)
    std = np.sqrt(np.diag(b))
    assert np.abs((u @ u.T - b) / std / std[:, None]).max() < 0.08


def test_what_does_not_fit_is_refused():
    problem = make_problem(COMM, "tsvd", 6)
    with pytest.raises(ValueError, match="7 leading modes without taper, but there are 6 modes"):
        modulated_transform(problem.transform, taper(untapered=7))
    with pytest.raises(ValueError, match="taper of 10 values, expected 300"):
        modulated_transform(problem.transform, taper(rows=slice(10)))
    with pytest.raises(ValueError, match="lengths of 0.01 and inf m need a lattice of .* points"):
        modulated_transform(problem.transform, taper(length=(0.01, 0.01)))


@pytest.mark.parametrize("between", [0.0, 0.3])
def test_without_lengths_factors_between_variables_are_exact(between):
    problem = make_problem(COMM, "tsvd", 12)
    of = taper(length=(np.inf, np.inf), between=between)
    made = modulated_transform(problem.transform, of)
    assert made.n_control == 2 * problem.transform.n_control
    assert made.rows(np.empty(0, np.int64)).shape == (0, made.n_control)
    u = made.rows(slice(None))
    assert relative_difference(u @ u.T, dense_covariance(problem, of)) < 1e-12
