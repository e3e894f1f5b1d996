"""Run by test_between on several ranks: rows shared out give what one rank has."""

import numpy as np
from mpi4py import MPI

from da.window.between import learned_bridge

comm = MPI.COMM_WORLD
states = np.cumsum(np.random.default_rng(0).standard_normal((11, 60)), axis=1)
mine = slice(11 * comm.rank // comm.size, 11 * (comm.rank + 1) // comm.size)
one, all_ = (learned_bridge(of, [np.arange(60)], 3, by) for of, by in ((states, MPI.COMM_SELF), (states[mine], comm)))
assert one.modes.shape[1] == all_.modes.shape[1] and one.ridge == all_.ridge
for expected, found in zip(
    one.between(states[:, 0], states[:, 3], MPI.COMM_SELF),
    all_.between(states[mine, 0], states[mine, 3], comm),
    strict=True,
):
    np.testing.assert_allclose(found, expected[mine], atol=1e-10 * np.abs(states).max())
