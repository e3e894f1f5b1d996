import h5py
import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, places, whole_snapshots

import plugin.window.background.modes_file
from da.background.blocks import cover
from da.background.local_modes import local_modes
from da.background.modes import reduced_modes, truncated_modes
from plugin.window.background.modes_file import ModesFileError, load_modes, read_about, save_modes

COMM = MPI.COMM_SELF
SNAPSHOTS = whole_snapshots()
ABOUT = {"grid": (5, 6, 5), "variables": ["speed", "tracer"], "period": [0.1, 7.3], "snapshots": "1f" * 20}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "modes.h5"
    save_modes(path, truncated_modes(SNAPSHOTS, COMM, 6), 1.0 + np.arange(N), ABOUT, COMM, np.arange(150) > 3)
    return path


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("make", [reduced_modes, truncated_modes])
@pytest.mark.parametrize("order", ["C", "F"])
def test_comes_back_bit_for_bit(tmp_path, make, precision, order, monkeypatch):
    monkeypatch.setattr(plugin.window.background.modes_file, "_BLOCK", 3000)
    modes = make(SNAPSHOTS, COMM, precision=precision)
    object.__setattr__(modes, "vectors", np.array(modes.vectors, order=order))
    scale = np.random.default_rng(0).random(N)
    save_modes(tmp_path / "modes.h5", modes, scale, ABOUT, COMM)
    found = load_modes(tmp_path / "modes.h5", N, COMM, ABOUT)
    assert found.modes.vectors.dtype == modes.vectors.dtype
    for a, b in ((found.modes.vectors, modes.vectors), (found.modes.mean, modes.mean), (found.scale, scale)):
        np.testing.assert_array_equal(a, b)
    assert (found.modes.name, found.modes.n_samples, found.mask) == (modes.name, 24, None)
    assert (found.modes.singular_values is None) == (modes.singular_values is None)
    assert (found.modes.coefficients is None) == (modes.coefficients is None) == (make is reduced_modes)
    if modes.coefficients is not None:
        np.testing.assert_array_equal(found.modes.coefficients, modes.coefficients)
    assert found.about == {**ABOUT, "grid": [5, 6, 5]} == read_about(tmp_path / "modes.h5")


@pytest.fixture
def local(tmp_path):
    path, position = tmp_path / "local.h5", places(np.arange(N))[0]
    blocks = cover(position.min(0) - 0.05, position.max(0) + 0.05, np.array([3.0, 1.0, 1.0]))
    modes = local_modes(SNAPSHOTS, position, blocks, COMM, 12)
    save_modes(path, modes, None, ABOUT, COMM)
    return path, modes


def test_factors_of_blocks_come_back(local):
    path, modes = local
    found = load_modes(path, N, COMM, ABOUT).modes
    np.testing.assert_array_equal(found.vectors, modes.vectors)
    np.testing.assert_array_equal(found.factor.root, modes.factor.root)
    for one, other in zip(found.factor.csr(), modes.factor.csr(), strict=True):
        np.testing.assert_array_equal(one, other)


def _fewer(file):
    del file["factor_values"]
    file["factor_values"] = np.ones(3)


def _beyond(file):
    file["factor_columns"][2] = 99


def _too_many(file):
    file["factor_counts"][7] = 1 << 20


def _endless(file):
    file["factor_values"][5] = np.inf


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_fewer, "factors of another shape than the vectors"),
        (_beyond, "factors of the modes: column 99, expected 0 to"),
        (_too_many, "factors of the modes: rows of .* entries, but there are"),
        (_endless, "factors of the modes: values that are no numbers"),
        (lambda file: file.__delitem__("factor_counts"), "no dataset factor_counts"),
    ],
)
def test_damaged_factors_are_named(local, harm, message):
    with h5py.File(local[0], "r+") as file:
        harm(file)
    with pytest.raises(ModesFileError, match=message):
        load_modes(local[0], N, COMM)


def test_mask_and_scale(stored):
    found = load_modes(stored, N, COMM)
    np.testing.assert_array_equal(found.mask, np.arange(150) > 3)
    np.testing.assert_array_equal(found.scale, 1.0 + np.arange(N))


@pytest.mark.parametrize("item, wanted", [("grid", (5, 6, 6)), ("period", [0.1, 7.4]), ("snapshots", "00" * 20)])
def test_what_differs_is_told(stored, item, wanted):
    with pytest.raises(ModesFileError, match=f"modes.h5: the modes were made with another {item}: .* expected .*"):
        load_modes(stored, N, COMM, {**ABOUT, item: wanted})
    with pytest.raises(ModesFileError, match='does not say colour, expected "red"'):
        load_modes(stored, N, COMM, {"colour": "red"})
    with pytest.raises(ModesFileError, match="modes of 300 values, expected 298"):
        load_modes(stored, N - 2, COMM)


def test_files_that_are_none(tmp_path, stored):
    with pytest.raises(ModesFileError, match="no such file"):
        load_modes(tmp_path / "none.h5", N, COMM)
    (tmp_path / "text.h5").write_text("modes")
    with pytest.raises(ModesFileError, match="not a whole HDF5 file"):
        load_modes(tmp_path / "text.h5", N, COMM)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["vectors"] = np.ones(3)
    with pytest.raises(ModesFileError, match="but none of modes"):
        read_about(tmp_path / "other.h5")


def test_a_file_that_was_cut(stored):
    whole = stored.read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 1):
        stored.write_bytes(whole[:size])
        with pytest.raises(ModesFileError, match="modes.h5"):
            load_modes(stored, N, COMM)


def _lose(file):
    del file["mean"]


def _shorten(file):
    del file["scale"]
    file["scale"] = np.ones(7)


def _spoil(file):
    file["vectors"][4, 2] = np.nan


def _forget(file):
    del file["coefficients"]
    file["coefficients"] = np.ones((24, 5))


def _later(file):
    file.attrs["version"] = 99


def _unreadable(file):
    file.attrs["about"] = "{"


def _elsewhere(file):
    del file["mean"]
    file["mean"] = h5py.ExternalLink("/etc/passwd", "mean")


@pytest.mark.parametrize(
    "harm, message",
    [
        (_lose, "no dataset mean"),
        (_shorten, "scale of 7 values, vectors of 300"),
        (_spoil, "vectors holds values that are no numbers"),
        (_forget, "coefficients of shape .24, 5., expected .24, 6."),
        (_later, "version 99, expected 1"),
        (_unreadable, "is damaged"),
        (_elsewhere, "no dataset mean"),
    ],
)
def test_damage_is_named(stored, harm, message):
    with h5py.File(stored, "r+") as file:
        harm(file)
    with pytest.raises(ModesFileError, match=message):
        load_modes(stored, N, COMM)


def _claim(file):
    del file["vectors"]
    file.create_dataset("vectors", (N, 1 << 24), "<f8", chunks=(N, 64), compression="gzip")


def _nest(file):
    file.attrs["about"] = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(("harm", "message"), [(_claim, r"vectors claims .* holds 0; make"), (_nest, "is damaged")])
def test_bombs_are_refused(stored, harm, message):
    with h5py.File(stored, "r+", libver="latest") as file:  # which has attributes of any length
        harm(file)
    for use in (lambda: load_modes(stored, N, COMM), lambda: read_about(stored)):
        with pytest.raises(ModesFileError, match=message):
            use()


def test_number_of_ranks_does_not_matter(mpirun, tmp_path):
    for n, other in ((1, 3), (2, 1), (3, 2)):
        mpirun(n, "tests/plugin/window/parallel_modes_file.py", "write", tmp_path / "modes.h5")
        mpirun(other, "tests/plugin/window/parallel_modes_file.py", "read", tmp_path / "modes.h5")
