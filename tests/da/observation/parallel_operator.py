"""H over ranks against numpy: values, adjoint and observed modes, with uneven and empty shares."""

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from da.observation.matrix_operator import MatrixOperator, selection

comm = MPI.COMM_WORLD
n, m = 40, 7
rng = np.random.default_rng(1)
whole = rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.15)
x, y, modes, scale = rng.normal(size=n), rng.normal(size=m), rng.normal(size=(n, 5)), rng.random(n)


def split(size, shares):
    cut = np.round(np.concatenate([[0], np.cumsum(shares) / np.sum(shares)]) * size).astype(int)
    return slice(cut[comm.rank], cut[comm.rank + 1])


for row_shares, column_shares in (([1, 1, 1], [1, 1, 1]), ([0, 1, 0], [3, 0, 1]), ([5, 0, 2], [0, 1, 0])):
    rows, columns = split(m, row_shares[: comm.size]), split(n, column_shares[: comm.size])
    mine = whole[rows]
    row, column = np.nonzero(mine)
    start = np.concatenate([[0], np.cumsum(np.count_nonzero(mine, axis=1))]).astype(PETSc.IntType)
    matrix = PETSc.Mat().createAIJ(
        ((len(mine), None), (columns.stop - columns.start, None)),
        csr=(start, column.astype(PETSc.IntType), mine[row, column]),
        comm=comm,
    )
    matrix.assemble()
    operator = MatrixOperator(matrix)
    assert operator.rows == rows and operator.n_observations == m
    np.testing.assert_allclose(operator.observe(x[columns]), mine @ x, atol=1e-13)
    np.testing.assert_allclose(operator.adjoint(y[rows]), (whole.T @ y)[columns], atol=1e-13)
    np.testing.assert_allclose(operator.observe_modes(modes[columns]), mine @ modes, atol=1e-13)
    np.testing.assert_allclose(
        operator.observe_modes(modes[columns], scale[columns]), mine @ (scale[:, None] * modes), atol=1e-13
    )

columns = split(n, np.ones(comm.size))
index = [39, 0, 20, 20]
operator = selection(index, columns.stop - columns.start, comm)
np.testing.assert_array_equal(operator.observe(x[columns]), x[index][operator.rows])
