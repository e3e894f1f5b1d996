import numpy as np
import pytest
from mpi4py import MPI
from tsqr import right_singular, triangular_factor


@pytest.mark.parametrize("shape", [(300, 20), (20, 20), (7, 20), (1, 3), (0, 4)])
def test_equals_numpy_for_tall_square_and_flat(shape):
    a = np.random.default_rng(1).normal(size=shape)
    sigma, right = right_singular(a, MPI.COMM_SELF)
    expected = np.zeros(shape[1])
    expected[: min(shape)] = np.linalg.svd(a, compute_uv=False)
    np.testing.assert_allclose(sigma, expected, atol=1e-12)
    np.testing.assert_allclose(right.T @ right, np.eye(shape[1]), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(a @ right, axis=0), sigma, atol=1e-12)


def test_triangle_has_the_matrix_gram():
    a = np.random.default_rng(2).normal(size=(200, 9))
    r = triangular_factor(a, MPI.COMM_SELF)
    np.testing.assert_allclose(r.T @ r, a.T @ a, rtol=1e-12, atol=1e-11)
    assert np.array_equal(r, np.triu(r))


def test_small_singular_values_are_not_squared_away():
    # forming AᵀA would lose everything below 1e-8
    rng = np.random.default_rng(3)
    left, right = np.linalg.qr(rng.normal(size=(100, 5)))[0], np.linalg.qr(rng.normal(size=(5, 5)))[0]
    wanted = 10.0 ** -np.arange(0.0, 15.0, 3.0)
    sigma, _ = right_singular(left * wanted @ right, MPI.COMM_SELF)
    np.testing.assert_allclose(sigma, wanted, rtol=1e-3)


def test_sign_of_a_tie_is_the_first_entry():
    # two anomalies are always each other's opposite, so the entries are equally large
    column = np.random.default_rng(4).normal(size=(50, 1))
    for flip in (1.0, -1.0):
        _, right = right_singular(flip * np.hstack([column, -column * (1.0 + 1e-15)]), MPI.COMM_SELF)
        assert right[0, 0] > 0.0 > right[1, 0]


@pytest.mark.parametrize("n", [2, 3])
def test_over_ranks(mpirun, n):
    mpirun(n, "tests/da/background/parallel_tsqr.py")
