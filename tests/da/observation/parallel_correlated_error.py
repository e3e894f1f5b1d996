"""R with blocks across ranks, on one rank and of one row, against numpy; shares uneven and empty."""

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import dense, make_problem

from da.analysis import analyse
from da.observation.correlated_error import correlated_error, given_error

comm = MPI.COMM_WORLD
m = 12
rng = np.random.default_rng(6)
position, std = rng.random((m, 3)) * 10.0, 0.5 + rng.random(m)
v, many = rng.normal(size=m), rng.normal(size=(m, 3))
groups = {"across": np.arange(m) % 2, "runs": np.arange(m) // 3, "alone": np.arange(m), "one": np.zeros(m)}

for shares in ([1, 1, 1], [0, 1, 2], [3, 0, 1], [0, 0, 1]):
    shares = np.array(shares[-comm.size :], float)
    cut = np.round(np.concatenate([[0], np.cumsum(shares) / shares.sum()]) * m).astype(int)
    rows = slice(int(cut[comm.rank]), int(cut[comm.rank + 1]))
    for name, group in groups.items():
        error = correlated_error(std, position, group, 4.0, rows, comm)
        alone = correlated_error(std, position, group, 4.0, slice(0, m), MPI.COMM_SELF)
        matrix = np.linalg.inv(alone.solve(np.eye(m)))
        given = given_error(0.5 * (matrix + matrix.T), rows, comm)
        for of in (v, many):
            np.testing.assert_allclose(error.solve(of[rows]), alone.solve(of)[rows], rtol=1e-11)
            np.testing.assert_allclose(error.whiten(of[rows]), alone.whiten(of)[rows], rtol=1e-11)
            np.testing.assert_allclose(given.solve(of[rows]), alone.solve(of)[rows], rtol=1e-6, atol=1e-8)
        if name == "alone":
            assert len(error.shared) == 0 and error.blocks == ()

wrong = np.eye(m)
wrong[0, 1] = wrong[1, 0] = 3.0
with pytest.raises(ValueError, match="smallest eigenvalue is -2"):
    given_error(wrong, rows, comm)

# the whole analysis against the gain in observation space
problem = make_problem(comm, "tsvd", 8)
places = np.stack([problem.index, 0 * problem.index, 0 * problem.index], axis=1) / 10.0
kind = problem.index % 2
error = correlated_error(problem.std, places, kind, 3.0, problem.operator.rows, comm, kind="exponential")
found = analyse(problem.transform, problem.operator, error, problem.innovation[problem.operator.rows], comm)
whole = make_problem(MPI.COMM_SELF, "tsvd", 8)
u, h = dense(whole)
r = np.exp(-np.abs(places[:, :1] - places[:, 0]) / 3.0) * np.outer(problem.std, problem.std) * (kind[:, None] == kind)
hu = h @ u
expected = u @ hu.T @ np.linalg.solve(hu @ hu.T + r, problem.innovation)
np.testing.assert_allclose(found.increment, expected[problem.rows], atol=1e-10 * np.abs(expected).max())
