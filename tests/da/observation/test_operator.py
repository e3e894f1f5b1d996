import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc

from da.observation.matrix_operator import MatrixOperator, selection

COMM = MPI.COMM_SELF


def interpolating(n=50, m=9, k=3):
    """A sparse H with k weights in each row, and the same dense; one row is empty."""
    rng = np.random.default_rng(3)
    whole = np.zeros((m, n))
    for row in whole[:-1]:
        row[rng.choice(n, k, replace=False)] = rng.random(k)
    start = np.concatenate([[0], np.cumsum(np.count_nonzero(whole, axis=1))]).astype(PETSc.IntType)
    row, column = np.nonzero(whole)
    matrix = PETSc.Mat().createAIJ((m, n), csr=(start, column.astype(PETSc.IntType), whole[row, column]), comm=COMM)
    matrix.assemble()
    return MatrixOperator(matrix), whole


def test_equals_dense():
    operator, whole = interpolating()
    rng = np.random.default_rng(4)
    x, y, v, scale = rng.normal(size=50), rng.normal(size=9), rng.normal(size=(50, 4)), rng.random(50)
    np.testing.assert_allclose(operator.observe(x), whole @ x, atol=1e-14)
    np.testing.assert_allclose(operator.adjoint(y), whole.T @ y, atol=1e-14)
    np.testing.assert_allclose(operator.observe_modes(v), whole @ v, atol=1e-14)
    np.testing.assert_allclose(operator.observe_modes(v, scale), whole @ (scale[:, None] * v), atol=1e-14)
    assert operator.n_observations == 9 and operator.rows == slice(0, 9)


def test_selection():
    x = np.arange(20.0)
    assert list(selection([7, 3, 3], 20, COMM).observe(x)) == [7.0, 3.0, 3.0]
    assert selection([], 20, COMM).observe_modes(np.ones((20, 2))).shape == (0, 2)
    with pytest.raises(ValueError, match="value 20 of the state .* values 0 to 19"):
        selection([3, 20], 20, COMM)


@pytest.mark.parametrize("n", [2, 3])
def test_over_ranks(mpirun, n):
    mpirun(n, "tests/da/observation/parallel_operator.py")
