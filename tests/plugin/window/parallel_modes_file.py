"""Modes written by all ranks into FILE; and read back, the same from any number of writers: write|read FILE."""

import sys

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, make_problem, places, rows_of, whole_snapshots

from da.background.blocks import cover
from da.background.local_modes import local_modes
from plugin.window.background.modes_file import ModesFileError, load_modes, save_modes

comm = MPI.COMM_WORLD
kind, path = sys.argv[1:]
for shares in (None, [5, 0, 1] if comm.size == 3 else [1, 5]):
    rows = rows_of(comm, shares)
    transform = make_problem(comm, "tsvd", 10, shares).transform
    mask = np.arange(150)[rows.start // 2 : rows.stop // 2] % 3 > 0
    if kind == "write":
        save_modes(path, transform.modes, transform.scale, {"grid": [5, 6, 5]}, comm, mask)
    found = load_modes(path, rows.stop - rows.start, comm, {"grid": (5, 6, 5)})
    np.testing.assert_allclose(found.modes.vectors, transform.modes.vectors, atol=1e-9)
    np.testing.assert_allclose(found.modes.mean, transform.modes.mean, rtol=1e-12)
    np.testing.assert_allclose(found.scale, transform.scale, rtol=1e-12)
    np.testing.assert_array_equal(found.mask, mask)
    with pytest.raises(ModesFileError, match=r"another grid: \[5, 6, 5\], expected \[5, 6, 4\]"):
        load_modes(path, rows.stop - rows.start, comm, {"grid": (5, 6, 4)})
    position = places(np.arange(N))[0]
    blocks = cover(position.min(0) - 0.05, position.max(0) + 0.05, np.array([3.0, 1.0, 1.0]))
    local = local_modes(whole_snapshots()[rows], position[rows], blocks, comm, 12)
    if kind == "write":
        save_modes(f"{path}.local", local, None, {}, comm)
    found = load_modes(f"{path}.local", rows.stop - rows.start, comm).modes
    np.testing.assert_allclose(found.factor.vectors(), found.vectors, atol=1e-12)
    control = np.random.default_rng(1).normal(size=found.n_modes)
    np.testing.assert_allclose(found.factor.product(control), found.vectors @ control, atol=1e-11)
    comm.Barrier()
