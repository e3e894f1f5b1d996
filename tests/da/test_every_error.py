"""The promises of `da.observation.error.ObservationError`, for every R there is, against the same as a dense matrix."""

import numpy as np
import pytest
from every import ERRORS, M
from every_results import of_errors
from mpi4py import MPI
from ranks import assert_close, results_on

COMM = MPI.COMM_SELF
UNIT = np.eye(M)


@pytest.fixture(params=ERRORS)
def case(request):
    return ERRORS[request.param](COMM)


def vectors(k=None):
    return np.random.default_rng(1).normal(size=M if k is None else (M, k))


@pytest.mark.parametrize("k", [None, 0, 1, 4])
def test_solve_is_the_dense_inverse(case, k):
    v = vectors(k)
    expected = np.linalg.solve(case.matrix, v)
    np.testing.assert_allclose(case.error.solve(v), expected, rtol=1e-10, atol=1e-11)
    assert case.error.solve(v).shape == case.error.whiten(v).shape == v.shape


def test_whitening_is_a_root_of_solving(case):
    v = vectors(4)
    whitened = case.error.whiten(v)
    np.testing.assert_allclose(whitened.T @ whitened, v.T @ case.error.solve(v), rtol=1e-11, atol=1e-12)
    # R^{-1/2} R R^{-T/2} = I: errors of R become white noise
    root = case.error.whiten(UNIT)
    np.testing.assert_allclose(root @ case.matrix @ root.T, UNIT, atol=1e-12)


def test_the_inverse_is_symmetric_and_positive_definite(case):
    inverse = case.error.solve(UNIT)
    np.testing.assert_allclose(inverse, inverse.T, rtol=1e-11, atol=1e-13)
    assert np.linalg.eigvalsh(0.5 * (inverse + inverse.T))[0] > 0.0


def test_columns_are_solved_each_by_itself(case):
    v = vectors(4)
    for of in (case.error.solve, case.error.whiten):
        np.testing.assert_allclose(of(v), np.stack([of(column) for column in v.T], axis=1), rtol=1e-12, atol=1e-14)


def test_standard_deviations_and_blocks_are_the_matrix(case):
    np.testing.assert_allclose(case.error.std_local, np.sqrt(np.diag(case.matrix)), rtol=1e-13)
    rebuilt = np.diag(case.error.std_local**2)
    for block in case.error.blocks:
        assert (np.diff(block.rows) > 0).all()
        rebuilt[np.ix_(block.rows, block.rows)] = block.factor @ block.factor.T
    np.testing.assert_allclose(rebuilt, case.matrix, rtol=1e-12, atol=1e-14)


def test_functions_of_blocks_get_their_rows(case):
    v, error = vectors(2), case.error
    # R v, row by row and block by block
    within = [(block.factor @ block.factor.T).__matmul__ for block in error.blocks]
    product = error.by_blocks(v, lambda of: error.std_local[:, None] ** 2 * of, within)
    np.testing.assert_allclose(product, case.matrix @ v, rtol=1e-11, atol=1e-13)
    parts = list(error.of_blocks(v))
    assert len(parts) == len(error.blocks)
    for block, part in zip(error.blocks, parts, strict=True):
        np.testing.assert_array_equal(part, v[block.rows])


def test_more_variance_is_added_to_the_diagonal(case):
    more = np.random.default_rng(2).random(M)
    inflated = case.error.inflated(more)
    assert type(inflated) is type(case.error)
    np.testing.assert_allclose(inflated.solve(UNIT), np.linalg.inv(case.matrix + np.diag(more)), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(inflated.std_local**2, np.diag(case.matrix) + more, rtol=1e-13)
    # R itself stays as it was
    np.testing.assert_allclose(case.error.std_local, np.sqrt(np.diag(case.matrix)), rtol=1e-13)


def test_content_determines_it(case):
    content = case.error.content
    assert isinstance(content, tuple) and all(isinstance(part, np.ndarray) for part in content)


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    expected = of_errors(COMM)
    for n in (2, 3):
        assert_close(results_on(mpirun, n, tmp_path, "tests/da/parallel_every.py", "errors"), expected, n)
