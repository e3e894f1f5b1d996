import os
import tracemalloc

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import VARIABLES, N, whole_snapshots

import da.background.snapshots
from da.background.modes import reduced_modes, truncated_modes
from da.background.scaling import variable_scaling
from da.background.snapshots import collected, row_blocks

COMM = MPI.COMM_SELF
SNAPSHOTS = whole_snapshots()
S = SNAPSHOTS.shape[1]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of so few rows that even the small problem has many."""
    monkeypatch.setattr(da.background.snapshots, "_BLOCK", 40 * S)


@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (1000, 5), (10**7, 791), (10, 0)])
def test_blocks_cover_all_rows_once(shape):
    slices = row_blocks(shape)
    assert sum(s.stop - s.start for s in slices) == shape[0]
    assert all(a.stop == b.start for a, b in zip(slices, slices[1:], strict=False))


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("widths", [[1] * S, [5, 1, S - 6], [S]])
def test_blocks_of_any_width_come_together(tmp_path, on_disk, widths):
    first = np.cumsum([0, *widths])
    blocks = (SNAPSHOTS[:, a] if b == a + 1 else SNAPSHOTS[:, a:b] for a, b in zip(first, first[1:], strict=False))
    found = collected(blocks, N, S, tmp_path if on_disk else None)
    np.testing.assert_array_equal(found, SNAPSHOTS)
    assert isinstance(found.base, np.memmap) == on_disk or isinstance(found, np.memmap) == on_disk
    assert os.listdir(tmp_path) == []  # nothing to clean up, whatever happens next


def test_blocks_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="snapshot 2 has 3 rows on this rank, expected 300"):
        collected([SNAPSHOTS[:, :2], np.ones(3)], N, S)
    with pytest.raises(ValueError, match="23 snapshots came, 24 were announced"):
        collected(SNAPSHOTS[:, 1:].T, N, S)
    with pytest.raises(ValueError, match="more than the 23 snapshots"):
        collected(SNAPSHOTS.T, N, S - 1)
    with pytest.raises(OSError):
        collected(SNAPSHOTS.T, N, S, tmp_path / "no such folder")
    assert collected([np.empty(0)] * 3, 0, 3, tmp_path).shape == (0, 3)


@pytest.mark.parametrize("make", [reduced_modes, truncated_modes])
def test_out_of_core_equals_in_core(tmp_path, make, small_blocks):
    on_disk = collected(SNAPSHOTS.T, N, S, tmp_path)
    scale = variable_scaling(SNAPSHOTS, VARIABLES, COMM).scale
    np.testing.assert_array_equal(variable_scaling(on_disk, VARIABLES, COMM).scale, scale)
    expected, found = (make(given, COMM, scale=scale) for given in (SNAPSHOTS, on_disk))
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(on_disk, SNAPSHOTS)


@pytest.mark.parametrize("make", [reduced_modes, truncated_modes])
def test_many_blocks_equal_one(make, monkeypatch):
    expected = make(SNAPSHOTS, COMM)
    monkeypatch.setattr(da.background.snapshots, "_BLOCK", 1)
    found = make(SNAPSHOTS, COMM)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-12 * np.abs(expected.vectors).max())


@pytest.mark.parametrize("make, size", [(reduced_modes, None), (truncated_modes, 20), (truncated_modes, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_scaled_float32_and_in_place(make, size, order, small_blocks):
    scaling = variable_scaling(SNAPSHOTS, VARIABLES, COMM, np.arange(N // 2) % 7 > 0)
    options = {} if size is None else {"truncation": size}
    expected = make(scaling.divide(SNAPSHOTS), COMM, **options)
    largest = np.abs(expected.vectors).max()
    given = np.array(SNAPSHOTS, order=order)
    found = make(given, COMM, scale=scaling.scale, **options)
    np.testing.assert_array_equal(given, SNAPSHOTS)
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=1e-13 * largest)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    single = make(given, COMM, scale=scaling.scale, precision="float32", overwrite=True, **options)
    assert single.vectors.dtype == np.float32
    np.testing.assert_allclose(single.vectors, found.vectors, rtol=6e-8)
    placed = make(given, COMM, scale=scaling.scale, overwrite=True, **options)
    np.testing.assert_array_equal(placed.vectors, found.vectors)
    assert np.shares_memory(placed.vectors, given) == (size != 3)


def test_precision_must_be_one_of_two():
    with pytest.raises(ValueError, match="precision 'float16' .* expected one of float64, float32"):
        reduced_modes(SNAPSHOTS, COMM, precision="float16")


@pytest.mark.parametrize("tau", [10, None])
def test_memory_of_a_middling_case(tmp_path, tau):
    n, s = 60_000, 200
    rng = np.random.default_rng(0)
    waves, steps = rng.normal(size=(n, 5)), rng.normal(size=(5, s))

    def snapshots():
        for k in range(s):
            yield waves @ steps[:, k] + 0.1 * rng.normal(size=n)

    whole = 8 * n * s
    truncation = tau or s - 1
    tracemalloc.start()
    try:
        held = collected(snapshots(), n, s)
        variable_scaling(held, ("u",), COMM)
        truncated_modes(held, COMM, truncation, overwrite=True)
        in_core = tracemalloc.get_traced_memory()[1]
        del held
        tracemalloc.reset_peak()
        held = collected(snapshots(), n, s, tmp_path)
        variable_scaling(held, ("u",), COMM)
        truncated_modes(held, COMM, 10)
        out_of_core = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert in_core < 1.3 * whole
    # the scratch file is the system's to keep or not: what is ours is a few blocks
    assert out_of_core < 0.4 * whole
