"""TSQR over ranks against numpy on the whole matrix; some ranks hold few rows or none."""

import numpy as np
from mpi4py import MPI
from tsqr import right_singular

comm = MPI.COMM_WORLD
whole = np.random.default_rng(5).normal(size=(60, 8)) * np.logspace(0, -6, 8)
cuts = {2: [[0, 30, 60], [0, 0, 60], [0, 60, 60], [0, 3, 60]], 3: [[0, 20, 40, 60], [0, 0, 5, 60], [0, 58, 58, 60]]}
expected = right_singular(whole, MPI.COMM_SELF)
np.testing.assert_allclose(expected[0], np.linalg.svd(whole, compute_uv=False), rtol=1e-9)
for cut in cuts[comm.size]:
    sigma, right = right_singular(whole[cut[comm.rank] : cut[comm.rank + 1]], comm)
    np.testing.assert_allclose(sigma, expected[0], rtol=1e-9)
    np.testing.assert_allclose(right, expected[1], atol=1e-9)
    assert all(np.array_equal(right, other) for other in comm.allgather(right))
