"""As many readings as values, rows over ranks uneven and none, against one rank; and modes in float32."""

import numpy as np
from mpi4py import MPI
from small_problem import N, make_problem, relative_difference, rows_of

import da.observation.matrix_operator
from da.analysis import analyse, prepare
from da.background.linear_transform import LinearTransform
from da.background.modes import Modes
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

da.observation.matrix_operator._BLOCK = 8 * 7
comm = MPI.COMM_WORLD
rng = np.random.default_rng(6)
index, std, innovation = rng.permutation(N), 0.5 + rng.random(N), rng.normal(size=N)


def analysed(comm, shares, precision):
    rows = rows_of(comm, shares)
    transform = make_problem(comm, "tsvd", 8, shares).transform
    modes = transform.modes
    vectors = modes.vectors.astype(precision)
    transform = LinearTransform(Modes(vectors, None, modes.mean, modes.n_samples, "tsvd"), transform.scale, comm)
    operator = selection(index, rows.stop - rows.start, comm)
    error = diagonal_error(std, operator.rows)
    hessian = prepare(transform, operator, error, comm)
    assert all(np.array_equal(hessian.information, other) for other in comm.allgather(hessian.information))
    return analyse(transform, operator, error, innovation[operator.rows], comm, hessian=hessian), rows


expected, _ = analysed(MPI.COMM_SELF, None, np.float64)
for shares in (None, [5, 0, 1] if comm.size == 3 else [1, 5], [0, 1, 0] if comm.size == 3 else [0, 1]):
    for precision, close in ((np.float64, 1e-10), (np.float32, 1e-6)):
        found, rows = analysed(comm, shares, precision)
        increment = np.concatenate(comm.allgather(found.increment))
        assert relative_difference(increment, expected.increment) < close, (shares, precision)
        assert relative_difference(found.control, expected.control) < close
