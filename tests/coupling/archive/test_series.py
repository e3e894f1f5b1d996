"""An archive and the dumps it was packed from are the same series."""

import shutil
from itertools import pairwise

import pytest
from contents import SELF, content, small_state
from polyhedra import street_states

from coupling.archive import Archive, ArchiveWriter
from coupling.archive.series import DumpSeries, open_series, read_written, write_state, written_states
from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import read_state

RUNS = {"serial": [8.0, 12.0], "parallel": [8.0, 12.0], "adaptive": [0.0, 8.0, 12.0, 16.0, 24.0]}


@pytest.fixture(params=RUNS)
def run(request, fluidity_data):
    return fluidity_data / request.param


@pytest.fixture
def both(run, tmp_path):
    """The dumps of a run, and the archive of them."""
    with open_series(run, SELF) as dumps:
        with ArchiveWriter(tmp_path / "run.vtkhdf", SELF) as writer:
            for step in range(len(dumps)):
                writer.append(dumps.read(step))
        with open_series(tmp_path / "run.vtkhdf", SELF) as archive:
            yield dumps, archive


def test_both_hold_the_same(both, run):
    dumps, archive = both
    assert isinstance(dumps, DumpSeries) and isinstance(archive, Archive)
    assert len(dumps) == len(archive) == len(RUNS[run.name])
    assert dumps.times.tolist() == archive.times.tolist() == RUNS[run.name]
    assert dumps.field_names == archive.field_names
    for step in range(len(dumps)):
        assert content(dumps.read(step)) == content(archive.read(step))
        assert content(dumps.read(step, ["Velocity"])) == content(archive.read(step, ["Velocity"]))


def test_both_count_from_the_end_and_no_further(both):
    for series in both:
        assert series.read(-1, ["Tracer"]).time == series.times[-1]
        assert series.read(-len(series), ["Tracer"]).time == series.times[0]
        for step in (len(series), -len(series) - 1):
            with pytest.raises(IndexError, match=f"no step {step}; "):
                series.read(step)
        with pytest.raises(TypeError):
            series.read(0.0)


def test_states_on_one_mesh_share_it(both):
    for series in both:
        meshes = [series.read(step, ["Tracer"])["Tracer"].mesh for step in range(len(series))]
        for mesh, following in pairwise(meshes):
            assert (mesh is following) == (mesh.fingerprint == following.fingerprint)


def test_both_name_a_field_that_is_missing(both):
    for series in both:
        with pytest.raises(FileError, match=r"no array 'Tracr'; it has .*'Tracer'"):
            series.read(0, ["Tracr"])


def test_no_fields_are_a_state_as_well(both):
    for series in both:
        state = series.read(1, [])
        assert state.time == series.times[1] and state.fields == {}


def test_times_cannot_be_changed(both):
    for series in both:
        with pytest.raises(ValueError, match="read-only"):
            series.times[0] = 1.0


def test_several_sources_are_one_series(fluidity_data):
    adaptive = fluidity_data / "adaptive"
    with open_series([adaptive / "mini_[34].vtu", adaptive / "mini_0.vtu"], SELF) as series:
        assert series.times.tolist() == [0.0, 12.0, 16.0]


def test_a_folder_with_an_archives_name_is_a_folder(tmp_path):
    (tmp_path / "run.vtkhdf").mkdir()
    write_dump(small_state(3.0), tmp_path / "run.vtkhdf" / "dump", SELF)
    assert open_series(tmp_path / "run.vtkhdf", SELF).times.tolist() == [3.0]


def test_nothing_to_read_is_an_error(fluidity_data, tmp_path):
    (tmp_path / "text.vtkhdf").write_text("text")
    for wrong, message in [
        (tmp_path, "has no dumps"),
        (tmp_path / "none.vtkhdf", "none.vtkhdf: no such file"),
        (tmp_path / "text.vtkhdf", "text.vtkhdf: not a whole HDF5 file"),
        (fluidity_data / "serial/mini.flml", "not a dump"),
    ]:
        with pytest.raises(FileError, match=message):
            open_series(wrong, SELF)


def test_a_dump_that_breaks_later_is_an_error_when_read(fluidity_data, tmp_path):
    shutil.copy(fluidity_data / "adaptive/mini_0.vtu", tmp_path)
    series = open_series(tmp_path, SELF)
    (tmp_path / "mini_0.vtu").write_text("text")
    with pytest.raises(FileError, match="mini_0.vtu: is no VTK file"):
        series.read(0)


def test_dumps_are_the_same_on_more_ranks_than_pieces(mpirun):
    assert "same" in mpirun(3, "tests/coupling/archive/parallel_series.py", timeout=60).stdout


def test_one_state_is_written_as_a_dump_or_of_polyhedra_as_an_archive(fluidity_data, tmp_path):
    tetrahedra = read_state(fluidity_data / "parallel/mini_3.pvtu", SELF, ["Tracer", "Velocity"])
    (polyhedra,) = street_states(SELF, 1)
    for state, name in ((tetrahedra, "one.pvtu"), (polyhedra, "other.vtkhdf")):
        path = write_state(state, tmp_path / name.split(".")[0], SELF)
        assert path == tmp_path / name
        assert content(read_written(path, SELF)) == content(state)
    assert written_states(tmp_path, "o*") == [tmp_path / "one.pvtu", tmp_path / "other.vtkhdf"]
    assert written_states(tmp_path, "one") == [tmp_path / "one.pvtu"]
    with pytest.raises(MeshError, match="third: a dump needs a mesh of finite elements"):
        write_dump(polyhedra, tmp_path / "third", SELF)
