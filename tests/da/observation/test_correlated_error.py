import numpy as np
import pytest
from mpi4py import MPI

from da.observation.correlated_error import correlated_error, given_error
from da.observation.correlation import correlation_matrix
from da.observation.diagonal_error import diagonal_error
from da.observation.error import instrument_std

COMM = MPI.COMM_SELF
RNG = np.random.default_rng(3)
M = 30
POSITION = RNG.random((M, 3)) * 50.0
STD = 0.5 + RNG.random(M)
GROUP = np.array(["u", "v", "w"])[RNG.integers(3, size=M)]
ALL = slice(0, M)


def covariance(length=20.0, kind="soar", nugget=0.0):
    return correlation_matrix(POSITION, length, kind, nugget) * np.outer(STD, STD) * (GROUP[:, None] == GROUP)


@pytest.mark.parametrize("kind", ["exponential", "soar", "gaspari-cohn"])
def test_blocks_equal_dense(kind):
    error = correlated_error(STD, POSITION, GROUP, 20.0, ALL, COMM, kind=kind, nugget=0.1)
    dense = covariance(kind=kind, nugget=0.1)
    for v in (RNG.normal(size=M), RNG.normal(size=(M, 4))):
        expected = np.linalg.solve(dense, v)
        np.testing.assert_allclose(error.solve(v), expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
        np.testing.assert_allclose(np.sum(error.whiten(v) ** 2), np.sum(v * expected), rtol=1e-10)
        assert error.whiten(v).shape == v.shape


def test_given_matrix_equals_dense_and_is_cut_where_it_has_zeros():
    dense = covariance()
    error = given_error(dense, ALL, COMM)
    v = RNG.normal(size=M)
    np.testing.assert_allclose(error.solve(v), np.linalg.solve(dense, v), rtol=1e-9)
    assert sorted(len(b.rows) for b in error.blocks) == sorted(np.sum(GROUP == g) for g in "uvw")


def test_without_correlation_it_is_the_diagonal():
    v = RNG.normal(size=(M, 2))
    expected = diagonal_error(STD, ALL)
    apart = correlated_error(STD, POSITION, np.arange(M), 20.0, ALL, COMM)
    given = given_error(np.diag(STD**2), ALL, COMM)
    for error in (apart, given):
        assert error.blocks == () and len(error.shared) == 0
        np.testing.assert_allclose(error.whiten(v), expected.whiten(v), rtol=1e-14)
        np.testing.assert_allclose(error.solve(v), expected.solve(v), rtol=1e-14)


def test_units_do_not_make_a_matrix_singular():
    # pressures in Pa beside speeds in km/s: condition 1e20, and nothing wrong
    spread = np.where(GROUP == "u", 1e5, 1e-5)
    dense = covariance() * np.outer(spread, spread)
    v = RNG.normal(size=M) * spread
    expected = np.linalg.solve(covariance(), v / spread) / spread
    np.testing.assert_allclose(given_error(dense, ALL, COMM).solve(v), expected, rtol=1e-8)


def test_not_positive_definite_is_refused_with_its_smallest_eigenvalue():
    dense = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 0.0, 1.0]])
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -1, the largest 3 .*rows 0 and 2 weigh most"):
        given_error(dense, slice(0, 3), COMM)
    with pytest.raises(ValueError, match=r"from row 1 the smallest eigenvalue is -4"):
        given_error(np.diag([1.0, -4.0, 1.0]), slice(0, 3), COMM)
    with pytest.raises(ValueError, match=r"smallest eigenvalue is 0,"):
        given_error(np.diag([1.0, 0.0]), slice(0, 2), COMM)


def test_two_readings_at_one_place_need_a_nugget():
    position = POSITION.copy()
    position[17] = position[4]
    group = np.zeros(M)
    with pytest.raises(ValueError, match="not positive definite.*rows 4 and 17 weigh most.*nugget"):
        correlated_error(STD, position, group, 20.0, ALL, COMM)
    error = correlated_error(STD, position, group, 20.0, ALL, COMM, nugget=0.01)
    assert np.isfinite(error.solve(np.ones(M))).all()


@pytest.mark.parametrize(
    "matrix, message",
    [
        (np.eye(2), r"shape \(2, 2\), expected \(3, 3\)"),
        ([[1.0, 0, 0], [0, np.nan, 0], [0, 0, 1]], r"entry \(1, 1\) is nan"),
        ([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]], r"not symmetric: entries \(0, 1\) and \(1, 0\) are 0.5 and 0"),
    ],
)
def test_what_is_no_covariance(matrix, message):
    with pytest.raises(ValueError, match=message):
        given_error(matrix, slice(0, 3), COMM)


def test_bad_std():
    with pytest.raises(ValueError, match="observation error -1 in row 2"):
        correlated_error([1.0, 1.0, -1.0], np.zeros((3, 3)), ["a", "b", "c"], 1.0, slice(0, 3), COMM)


def test_instruments_bring_their_own_error():
    instrument, variable = np.array(["cup", "sonic", "", "sonic"]), np.array(["u", "u", "u", "T"])
    assert instrument_std(np.ones(4), instrument, {"cup": 0.5, "sonic": 0.1}).tolist() == [0.5, 0.1, 1.0, 0.1]
    by_variable = instrument_std(np.ones(4), instrument, {"sonic": {"u": 0.1}}, variable)
    assert by_variable.tolist() == [1.0, 0.1, 1.0, 1.0]
    with pytest.raises(ValueError, match="error 0.0 of instrument 'cup'"):
        instrument_std(np.ones(4), instrument, {"cup": 0.0})


@pytest.mark.parametrize("n", [1, 2, 3])
def test_over_ranks(mpirun, n):
    mpirun(n, "tests/da/observation/parallel_correlated_error.py")
