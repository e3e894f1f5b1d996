import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc
from ranks import assert_same_on_ranks
from small_problem import N_POINTS, N, dense, make_problem, relative_difference

from da.background.linear_transform import LinearTransform
from da.background.modes import Modes
from da.diagnostics.posterior import (
    marginal,
    mesh_std,
    metric,
    posterior,
    prior,
    state_std,
)
from da.minimisation.hessian import ObservationHessian

COMM = MPI.COMM_SELF
KINDS = [("reduced", None, 1.0), ("tsvd", 12, 1.0), ("tsvd", 12, 0.1)]


def made(kind="tsvd", truncation=12, weight=1.0):
    """The problem, its Posterior, and the textbook's covariances of background and analysis."""
    problem = make_problem(COMM, kind, truncation)
    of = posterior(ObservationHessian(*problem.arguments[:3], COMM).information, weight)
    u, h = dense(problem)
    b = u @ u.T / weight
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + np.diag(problem.std**2))
    return problem, of, b, b - gain @ h @ b, gain @ h


@pytest.mark.parametrize("kind, truncation, weight", KINDS)
def test_equals_the_kalman_filters_analysis_covariance(kind, truncation, weight):
    problem, of, b, pa, _ = made(kind, truncation, weight)
    u, h = dense(problem)
    # (I − K H) B is a difference of near equals: its rounding is that of the background's variance
    assert relative_difference(u @ of.covariance @ u.T, pa) < 1e-8
    np.testing.assert_allclose(state_std(of, problem.transform) ** 2, np.diag(pa), rtol=1e-7, atol=1e-12 * b.max())
    np.testing.assert_allclose(
        state_std(prior(len(of.eigenvalues), weight), problem.transform), np.sqrt(np.diag(b)), rtol=1e-12
    )


@pytest.mark.parametrize("kind, truncation, weight", KINDS)
def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix(kind, truncation, weight):
    problem, of, b, pa, kh = made(kind, truncation, weight)
    assert of.degrees_of_freedom == pytest.approx(np.trace(kh), rel=1e-10)
    assert 0.0 < of.degrees_of_freedom < len(of.eigenvalues)
    _, h = dense(problem)
    expected = np.eye(40) + h @ b @ h.T / problem.std**2
    assert of.entropy_reduction == pytest.approx(0.5 * np.linalg.slogdet(expected)[1], rel=1e-10)


def test_no_readings_determine_nothing():
    of = posterior(np.zeros((5, 5)), 0.25)
    assert of.degrees_of_freedom == of.entropy_reduction == 0.0
    np.testing.assert_allclose(of.covariance, 4.0 * np.eye(5), rtol=1e-14)
    assert posterior(np.zeros((0, 0))).degrees_of_freedom == prior(0).degrees_of_freedom == 0.0


def test_errors_of_analyses_spread_as_is_told():
    problem, of, b, pa, _ = made()
    u, h = dense(problem)
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(4000, 12))
    d = truth @ (h @ u).T + problem.std * rng.normal(size=(4000, 40))
    found = d / problem.std**2 @ (h @ u) @ of.covariance
    spread = np.sqrt(np.mean(((truth - found) @ u.T) ** 2, axis=0))
    # 4000 samples know a standard deviation to 1.1 %
    np.testing.assert_allclose(spread, state_std(of, problem.transform), rtol=0.06)


@pytest.mark.parametrize("scaled", [True, False])
def test_nodes_of_a_mesh_equal_dense(scaled):
    problem, of, _, _, _ = made()
    modes, n_nodes = problem.transform.modes, 70
    transform = problem.transform if scaled else LinearTransform(modes, None, COMM)
    rng = np.random.default_rng(4)
    q = np.where(rng.random((n_nodes, N_POINTS)) < 0.05, rng.random((n_nodes, N_POINTS)), 0.0)
    start = np.concatenate([[0], np.cumsum(np.count_nonzero(q, axis=1))]).astype(PETSc.IntType)
    row, node = np.nonzero(q)
    entries = start, node.astype(PETSc.IntType), q[row, node]
    matrix = PETSc.Mat().createAIJ((n_nodes, N_POINTS), csr=entries, comm=COMM)
    u = modes.vectors * (problem.transform.scale[:, None] if scaled else 1.0)
    for column in range(2):
        rows = q @ u[column::2]
        expected = np.sqrt(np.diag(rows @ of.covariance @ rows.T))
        np.testing.assert_allclose(mesh_std(of, transform, matrix, column, 2), expected, rtol=1e-10, atol=1e-14)
    with pytest.raises(ValueError, match="150 columns on this rank, which has 300 grid points"):
        mesh_std(of, transform, matrix, 0, 1)


def test_marginal_is_the_covariance_of_the_first_numbers():
    _, of, _, _, _ = made()
    first = marginal(of, 5)
    np.testing.assert_allclose(first.covariance, of.covariance[:5, :5], rtol=1e-12)
    assert first.degrees_of_freedom == of.degrees_of_freedom


@pytest.mark.parametrize("block", [1 << 19, 12 * 7])
def test_blocks_and_float32_modes(block, monkeypatch):
    monkeypatch.setattr("da.diagnostics.posterior._BLOCK", block)
    problem, of, b, pa, _ = made()
    modes = problem.transform.modes
    np.testing.assert_allclose(state_std(of, problem.transform), np.sqrt(np.diag(pa)), rtol=1e-6)
    single = Modes(modes.vectors.astype(np.float32), None, modes.mean, modes.n_samples, modes.name)
    found = state_std(of, LinearTransform(single, problem.transform.scale, COMM))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.sqrt(np.diag(pa)), rtol=1e-5)


@pytest.mark.parametrize("weighted", [True, False])
def test_metric_and_covariance_have_the_dense_trace(weighted):
    problem, of, b, pa, _ = made()
    scale = problem.transform.scale
    weight = np.random.default_rng(5).random(N) if weighted else None
    w = weight if weighted else scale**-2.0
    total = np.sum(metric(problem.transform, weight) * of.covariance)
    assert total == pytest.approx(np.sum(w * np.diag(pa)), rel=1e-9)
    u, _ = dense(problem)
    np.testing.assert_allclose(metric(problem.transform, weight), u.T @ (w[:, None] * u), rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="weight -1.0 in row 3"):
        metric(problem.transform, np.where(np.arange(N) == 3, -1.0, 1.0))
    with pytest.raises(ValueError, match=r"weights of shape \(2,\)"):
        metric(problem.transform, np.ones(2))


@pytest.mark.parametrize(
    "matrix, weight, message",
    [
        (np.ones((2, 3)), 1.0, r"shape \(2, 3\)"),
        (np.full((2, 2), np.nan), 1.0, "no number"),
        (-np.eye(3), 1.0, "eigenvalue of -1"),
        (np.eye(3), 0.0, "background weight 0.0"),
    ],
)
def test_what_is_no_information_matrix(matrix, weight, message):
    with pytest.raises(ValueError, match=message):
        posterior(matrix, weight)


def test_same_on_one_to_four_ranks(mpirun, tmp_path):
    assert_same_on_ranks(mpirun, tmp_path, "tests/da/diagnostics/parallel_posterior.py", ranks=(1, 2, 3, 4))
