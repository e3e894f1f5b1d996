"""Modes kept in a file by the case, and the command that makes them."""

import os
import shutil

import numpy as np
import pytest
from mpi4py import MPI
from test_background import case, dumps  # noqa: F401

from coupling.archive.series import DumpSeries
from plugin.case.configuration import ConfigurationError
from plugin.modes import make_modes
from plugin.window.background.modes_file import read_about
from plugin.window.background.of_case import background

COMM = MPI.COMM_SELF


@pytest.fixture
def own(tmp_path, dumps):  # noqa: F811
    """A copy of the dumps that a test may change."""
    return shutil.copytree(dumps, tmp_path / "earlier")


def test_made_once_and_then_used(tmp_path, own, monkeypatch):
    settings = {"truncation": 2, "modes": "kept/modes.h5"}
    told = []
    first = background(case(tmp_path, own, **settings), COMM, said=told.append)
    assert told and os.listdir(tmp_path / "kept") == ["modes.h5"]
    plain = background(case(tmp_path, own, truncation=2), COMM)
    told.clear()
    read = []
    monkeypatch.setattr(
        DumpSeries, "read", lambda *asked, read=read, all=DumpSeries.read: read.append(1) or all(*asked)
    )
    again = background(case(tmp_path, own, **settings, inflation=1.5), COMM, said=told.append)
    assert not told and len(read) == 1  # the first state, for its mesh
    for found in (first, plain):
        np.testing.assert_array_equal(found.modes.vectors, again.modes.vectors)
        np.testing.assert_array_equal(1.5 * found.transform.scale, again.transform.scale)
        np.testing.assert_array_equal(found.modes.mean, again.modes.mean)
    about = read_about(tmp_path / "kept/modes.h5")
    assert about["variables"] == ["Velocity.y", "Tracer"] and about["period"] == [0.0, 5.0]


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"truncation": 3}, "another truncation: 2, expected 3"),
        ({"truncation": "0.9"}, "another truncation: 2, expected 0.9"),
        ({"scaling": "point"}, 'another scaling: "variable", expected "point"'),
        ({"precision": "float32"}, 'another precision: "float64", expected "float32"'),
        ({"variables": "[Tracer]"}, r'another variables: \["Velocity.y", "Tracer"\], expected \["Tracer"\]'),
        ({"grid": "{shape: [6, 5, 5]}"}, r"another grid: .*\[6, 5, 4\].* expected .*\[6, 5, 5\]"),
        ({"snapshots": "{path: earlier, until: 4}"}, r"another period: \[0.0, 5.0\], expected \[0.0, 4.0\]"),
        ({"snapshots": "{path: earlier}, {path: earlier}"}, "another number of states: 6, expected 12"),
    ],
)
def test_modes_of_another_case_are_refused(tmp_path, own, changed, told):
    make_modes(case(tmp_path, own, truncation=2, modes="modes.h5"), COMM)
    kept = (tmp_path / "modes.h5").read_bytes()
    with pytest.raises(ConfigurationError, match=f"background.modes: .*modes.h5: the modes were made with {told}"):
        background(case(tmp_path, own, **{"truncation": 2, "modes": "modes.h5", **changed}), COMM)
    assert (tmp_path / "modes.h5").read_bytes() == kept


def test_other_states_of_the_same_times_are_noticed(tmp_path, own):
    settings = {"truncation": 2, "modes": "modes.h5"}
    make_modes(case(tmp_path, own, **settings), COMM)
    (own / "earlier_4.pvtu").rename(own / "later_4.pvtu")
    with pytest.raises(ConfigurationError, match="another states: "):
        background(case(tmp_path, own, **settings), COMM)


def test_the_folder_may_move(tmp_path, own):
    settings = {"truncation": 2, "modes": "modes.h5"}
    make_modes(case(tmp_path, own, **settings), COMM)
    own.rename(tmp_path / "archive")
    background(case(tmp_path, tmp_path / "archive", **settings), COMM)


def test_damaged_file_is_bad_input(tmp_path, own):
    (tmp_path / "modes.h5").write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ConfigurationError, match="background.modes: .*not a whole HDF5 file"):
        background(case(tmp_path, own, modes="modes.h5"), COMM)


def test_scratch_and_precision(tmp_path, own):
    plain = background(case(tmp_path, own, truncation=2), COMM)
    scratch = background(case(tmp_path, own, truncation=2, scratch=tmp_path), COMM)
    np.testing.assert_array_equal(plain.modes.vectors, scratch.modes.vectors)
    single = background(case(tmp_path, own, truncation=2, precision="float32"), COMM)
    assert single.modes.vectors.dtype == np.float32
    increments = [found.transform.apply(np.ones(2)) for found in (single, plain)]
    np.testing.assert_allclose(*increments, atol=1e-6 * np.abs(increments[1]).max())
    with pytest.raises(OSError, match="nowhere"):
        background(case(tmp_path, own, scratch="nowhere"), COMM)


def test_truncation_by_explained_variance(tmp_path, own):
    sigma = background(case(tmp_path, own, truncation=3), COMM).modes.singular_values
    part = sigma[0] ** 2 / np.sum(sigma**2)
    assert background(case(tmp_path, own, truncation=0.999 * part), COMM).modes.n_modes == 1
    assert background(case(tmp_path, own, truncation=1.001 * part), COMM).modes.n_modes == 2
    assert case(tmp_path, own, truncation=3).background.truncation == 3
    with pytest.raises(ConfigurationError, match="truncation: found 2.5; expected a whole number of modes"):
        case(tmp_path, own, truncation=2.5)
    with pytest.raises(ConfigurationError, match="truncation: found 0"):
        case(tmp_path, own, truncation=0)


def test_command(mpirun, tmp_path, own):
    case(tmp_path, own, truncation=2)
    done = mpirun(1, "-m", "plugin.modes", tmp_path / "case.yml", check=False)
    assert done.returncode == 2 and "background.modes: this key is missing" in done.stderr
    case(tmp_path, own, truncation=2, modes="modes.h5")
    done = mpirun(2, "-m", "plugin.modes", tmp_path / "case.yml")
    assert "2 modes (tsvd, float64) of 6 states, " in done.stdout and done.stdout.count("modes (") == 1
    found = background(case(tmp_path, own, truncation=2, modes="modes.h5"), COMM)  # on another number of ranks
    expected = background(case(tmp_path, own, truncation=2), COMM)
    np.testing.assert_allclose(found.modes.vectors, expected.modes.vectors, atol=1e-10)
    case(tmp_path, own, truncation=3, modes="modes.h5")
    done = mpirun(2, "-m", "plugin.modes", tmp_path / "case.yml", check=False)
    assert done.returncode == 2 and done.stderr.count("another truncation: 2, expected 3") == 1
