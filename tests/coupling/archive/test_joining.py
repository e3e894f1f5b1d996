"""Joined archives: by chunks where possible, otherwise state by state."""

import h5py
import numpy as np
import pytest
from contents import SELF, changing_states, content, small_mesh, small_state

from coupling.archive import Archive, ArchiveWriter, join_archives
from coupling.archive import writer as writing
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError


def _parts(folder, groups, **settings):
    paths = []
    for k, states in enumerate(groups):
        paths.append(folder / f"{k}.vtkhdf")
        with ArchiveWriter(paths[-1], SELF, **settings) as archive:
            for state in states:
                archive.append(state)
    return paths


def _contents(path):
    with Archive(path, SELF) as archive:
        return [content(archive.read(step)) for step in range(len(archive))]


def _same_mesh(groups):
    mesh, time = small_mesh(3), iter(range(100))
    return [[small_state(float(next(time)), mesh) for _ in range(n)] for n in groups]


@pytest.fixture(params=["a chunk for a state", "several chunks for a state"])
def chunks(request, monkeypatch):
    if request.param.startswith("several"):
        monkeypatch.setattr(writing, "_CHUNK", 24)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("compression", [0, 4])
def test_chunks_are_copied_as_they_are(tmp_path, compression):
    paths = _parts(tmp_path, _same_mesh([3, 1, 2]), compression=compression)
    join_archives(paths, tmp_path / "whole.vtkhdf", SELF, compression=9)
    assert _contents(tmp_path / "whole.vtkhdf") == [c for path in paths for c in _contents(path)]
    with h5py.File(tmp_path / "whole.vtkhdf") as whole, h5py.File(paths[0]) as part:
        names = [name for name in whole["VTKHDF/PointData"]]
        assert names and len(whole["VTKHDF/Points"]) == len(part["VTKHDF/Points"])
        for name in names:
            stored = [file[f"VTKHDF/PointData/{name}"] for file in (whole, part)]
            assert stored[0].compression_opts == (compression or None)
            assert stored[0].chunks == stored[1].chunks
            raw = [of.id.read_direct_chunk((0,) * of.ndim) for of in stored]
            assert raw[0] == raw[1]


def test_no_chunk_is_of_two_states(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 24)
    (path,) = _parts(tmp_path, _same_mesh([3]))
    with h5py.File(path) as file:
        for name, rows in file["VTKHDF/Steps/PointDataOffsets"].items():
            chunk = file[f"VTKHDF/PointData/{name}"].chunks[0]
            assert chunk < len(file["VTKHDF/Points"]) and not (rows[...] % chunk).any() and len(set(rows[...])) == 3


def test_meshes_that_change_are_joined_state_by_state(fluidity_data, tmp_path):
    states = list(changing_states(fluidity_data, SELF))
    paths = _parts(tmp_path, [states[:1], states[1:]])
    join_archives(paths, tmp_path / "whole.vtkhdf", SELF, compression=9)
    assert _contents(tmp_path / "whole.vtkhdf") == [content(state) for state in states]


def test_what_cannot_be_joined(tmp_path):
    paths = _parts(tmp_path, _same_mesh([2, 2]))
    with pytest.raises(MeshError, match="later|after|rising"):
        join_archives(paths[::-1], tmp_path / "whole.vtkhdf", SELF)
    paths[1].write_bytes(paths[1].read_bytes()[:2000])
    with pytest.raises(FileError, match="1.vtkhdf"):
        join_archives(paths, tmp_path / "whole.vtkhdf", SELF)
    assert not (tmp_path / "whole.vtkhdf").exists()


def test_same_on_two_ranks(fluidity_data, tmp_path, mpirun):
    series = open_series(fluidity_data / "parallel", SELF)
    states = [series.read(step) for step in range(len(series))]
    paths = _parts(tmp_path, [states[:1], states[1:]])
    mpirun(2, "tests/coupling/archive/parallel_joining.py", tmp_path / "whole.vtkhdf", *paths)
    assert _contents(tmp_path / "whole.vtkhdf") == [content(state) for state in states]
    assert np.all(np.diff(Archive(tmp_path / "whole.vtkhdf", SELF).times) > 0)
