"""Archives: round trips, the layout of the file, reading by VTK, and files that are not archives."""

import os
import signal
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
from contents import FIELDS, SELF, changing_states, content, cut_states, small_mesh, small_state
from places import ROOT
from polyhedra import street_states
from shaped_mesh import EVERY_SHAPE, shaped_mesh
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOHDF import vtkHDFReader, vtkHDFWriter

from coupling.archive import Archive, ArchiveWriter, describe
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.geometry.mesh import Field, MeshError, State

RUNS = ["serial", "parallel", "adaptive"]


def _write(path, states, **settings):
    with ArchiveWriter(path, SELF, **settings) as archive:
        for state in states:
            archive.append(state)
    return path


def _states_of(folder, names=None):
    series = open_series(folder, SELF)
    return [series.read(step, names) for step in range(len(series))]


def _contents(path):
    with Archive(path, SELF) as archive:
        return [content(archive.read(step)) for step in range(len(archive))]


def _small(path, n_states=3, **settings):
    mesh = small_mesh(2)
    return _write(path, (small_state(float(k), mesh) for k in range(n_states)), **settings)


@pytest.mark.parametrize("run", RUNS)
def test_states_come_back_bit_for_bit(fluidity_data, tmp_path, run):
    states = _states_of(fluidity_data / run)
    path = _write(tmp_path / "run.vtkhdf", states)
    assert _contents(path) == [content(s) for s in states]
    with Archive(path, SELF) as archive:  # in any order, any fields
        for step in (1, 0, -1, 0):
            expected = State(states[step].time, {n: states[step][n] for n in ("Viscosity", "Tracer")})
            assert content(archive.read(step, ["Tracer", "Viscosity"])) == content(expected)


def test_numbers_that_are_not_finite_or_signed_zeros_come_back(tmp_path):
    values = np.array([np.nan, -np.inf, -0.0, 5e-324])
    with Archive(_write(tmp_path / "odd.vtkhdf", [small_state(0.1 + 0.2, a=values)]), SELF) as archive:
        assert archive.times[0] == 0.1 + 0.2
        assert archive.read(0)["a"].values.view(np.int64).tolist() == values.view(np.int64).tolist()


def test_a_mesh_is_stored_once(fluidity_data, tmp_path):
    serial = _write(tmp_path / "serial.vtkhdf", _states_of(fluidity_data / "serial"))
    changing = _write(tmp_path / "changing.vtkhdf", changing_states(fluidity_data, SELF))
    for path, points, cells, parts in ((serial, 24572, 6143, 1), (changing, 29448 + 330 + 671, 7362 + 1192 + 2775, 4)):
        with h5py.File(path) as file:
            assert len(file["VTKHDF/Points"]) == points and len(file["VTKHDF/NumberOfPoints"]) == parts
            assert len(file["VTKHDF/Types"]) == len(file["VTKHDF/CellData/vtkGhostType"]) == cells
            assert len(file["VTKHDF/Connectivity"]) == 4 * cells and len(file["VTKHDF/Offsets"]) == cells + parts
    meshes = describe(changing)[2]
    assert [(m.nodes, m.cells, m.parts, m.steps, m.first_step) for m in meshes] == [
        (29448, 7362, 2, 2, 0), (330, 1192, 1, 1, 1), (671, 2775, 1, 1, 2)
    ]  # fmt: skip
    assert _contents(changing) == [content(s) for s in changing_states(fluidity_data, SELF)]


def test_arrays_are_chunked_and_compressed(fluidity_data, tmp_path):
    states = _states_of(fluidity_data / "serial")
    small, plain = (_write(tmp_path / f"{c}.vtkhdf", states, compression=c) for c in (4, 0))
    with h5py.File(small) as file, h5py.File(plain) as raw:
        names = ["Points", "Connectivity", "Offsets", "Types", "CellData/vtkGhostType"]
        names += [f"PointData/{n}" for n in file["VTKHDF/PointData"]] + ["CellData/P0Tracer"]
        assert len(names) == 13
        for name in names:
            packed, unpacked = file[f"VTKHDF/{name}"], raw[f"VTKHDF/{name}"]
            assert (packed.compression, packed.compression_opts, unpacked.compression) == ("gzip", 4, None)
            assert np.prod(packed.chunks) * packed.dtype.itemsize <= 1 << 20
            assert packed.id.get_storage_size() < unpacked.id.get_storage_size()
    assert small.stat().st_size < plain.stat().st_size / 5
    assert _contents(small) == _contents(plain)


def test_float32_rounds_the_fields_and_not_the_mesh(fluidity_data, tmp_path):
    states = _states_of(fluidity_data / "adaptive")
    with Archive(_write(tmp_path / "half.vtkhdf", states, precision="float32"), SELF) as archive:
        for step, state in enumerate(states):
            again = archive.read(step)
            for name, field in state.fields.items():
                np.testing.assert_array_equal(again[name].values, field.values.astype(np.float32).astype(np.float64))
                assert again[name].mesh.fingerprint == field.mesh.fingerprint
    assert {f.kind for f in describe(tmp_path / "half.vtkhdf")[1]} == {"<f4"}


def _vtk_reader(path):
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    return reader


def _check_with_vtk(path, states):
    reader, several = _vtk_reader(path), len({s["Tracer"].mesh.n_pieces for s in states}) > 1
    times = reader.GetOutputInformation(0).Get(vtkStreamingDemandDrivenPipeline.TIME_STEPS())
    assert list(times) == [s.time for s in states]
    for state in [*states, states[0]]:  # and back to the first
        if several:  # VTK 9.7 loses pieces where a step has more of them than the one it read before
            reader = _vtk_reader(path)
        reader.UpdateTimeStep(state.time)
        whole, mesh = reader.GetOutputDataObject(0), next(iter(state.fields.values())).mesh
        assert whole.GetInformation().Get(whole.DATA_TIME_STEP()) == state.time
        assert (whole.GetNumberOfPoints(), whole.GetNumberOfCells()) == (mesh.n_nodes, mesh.n_cells)
        pieces = [whole]
        if not whole.IsA("vtkUnstructuredGrid"):  # where any step has several pieces
            pieces = [whole.GetPartitionAsDataObject(k) for k in range(whole.GetNumberOfPartitions())]
            assert max(s["Tracer"].mesh.n_pieces for s in states) > 1
        for grid, piece in zip(pieces, mesh.pieces, strict=True):
            np.testing.assert_array_equal(vtk_to_numpy(grid.GetPoints().GetData()), mesh.points[piece.nodes])
            cells = vtk_to_numpy(grid.GetCells().GetConnectivityArray()).reshape(-1, 4)
            np.testing.assert_array_equal(cells + piece.nodes.start, mesh.cells[piece.cells])
            assert {grid.GetCellType(k) for k in (0, grid.GetNumberOfCells() - 1)} == {10}
            marks = vtk_to_numpy(grid.GetCellData().GetArray("vtkGhostType"))
            np.testing.assert_array_equal(marks, mesh.ghost[piece.cells])
            for name, field in state.fields.items():
                at_points = field.location == "point"
                data, rows = (grid.GetPointData(), piece.nodes) if at_points else (grid.GetCellData(), piece.cells)
                np.testing.assert_array_equal(vtk_to_numpy(data.GetArray(name)), field.values[rows])


@pytest.mark.parametrize("run", RUNS)
def test_vtk_opens_it_as_a_time_series(fluidity_data, tmp_path, run):
    states = _states_of(fluidity_data / run)
    _check_with_vtk(_write(tmp_path / "run.vtkhdf", states), states)


@pytest.mark.parametrize("make", [cut_states, lambda data: changing_states(data, SELF)], ids=["cut", "changing"])
def test_vtk_follows_meshes_and_pieces_that_change(fluidity_data, tmp_path, make):
    states = list(make(fluidity_data))
    path = _write(tmp_path / "changing.vtkhdf", states)
    assert _contents(path) == [content(s) for s in states]
    _check_with_vtk(path, states)


@pytest.mark.parametrize("run", RUNS)
def test_files_that_vtk_wrote_are_read(fluidity_data, tmp_path, run):
    states = _states_of(fluidity_data / run)
    reader, writer = vtkHDFReader(), vtkHDFWriter()
    reader.SetFileName(str(_write(tmp_path / "ours.vtkhdf", states)))
    writer.SetInputConnection(reader.GetOutputPort())
    writer.SetFileName(str(tmp_path / "vtk.vtkhdf"))
    writer.SetWriteAllTimeSteps(True)
    assert writer.Write()
    assert _contents(tmp_path / "vtk.vtkhdf") == [content(s) for s in states]


def test_any_number_of_ranks_writes_and_reads_the_same(fluidity_data, tmp_path, mpirun):
    assert "same" in mpirun(3, "tests/coupling/archive/parallel_archive.py", tmp_path, timeout=60).stdout
    states = {run: _states_of(fluidity_data / run, names) for run, names in FIELDS.items()}
    states["changing"] = list(changing_states(fluidity_data, SELF))
    for run in states:
        for n in (2, 3):
            _check_with_vtk(tmp_path / f"{run}_{n}.vtkhdf", states[run])
    polyhedra = [content(state) for state in street_states(SELF)]
    assert all(_contents(tmp_path / f"polyhedra_{n}.vtkhdf") == polyhedra for n in (1, 2, 3))
    assert len(list(tmp_path.iterdir())) == 12  # and nothing of what failed


def test_one_rank_that_fails_leaves_no_file(tmp_path, mpirun):
    done = mpirun(2, "tests/coupling/archive/parallel_archive.py", tmp_path, "fail", check=False, timeout=60)
    assert done.returncode != 0 and "fails on purpose" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_states(tmp_path):
    mesh = small_mesh(10_000)
    values = np.random.default_rng(3).random(mesh.n_nodes)

    def peak(n):
        tracemalloc.start()
        _write(tmp_path / f"{n}.vtkhdf", (small_state(float(k), mesh, a=values + k) for k in range(n)), compression=1)
        with Archive(tmp_path / f"{n}.vtkhdf", SELF) as archive:
            for step in range(n):
                archive.read(step)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # what is imported on the way
    assert peak(40) < peak(4) + 2 * values.nbytes


def test_a_failure_leaves_an_older_file_and_nothing_beside(tmp_path):
    path = _small(tmp_path / "run.vtkhdf")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no power"):
        with ArchiveWriter(path, SELF) as archive:
            archive.append(small_state())
            raise RuntimeError("no power")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    _small(path, 5)
    assert len(_contents(path)) == 5 and list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_no_file_and_the_next_one_cleans_up(tmp_path):
    program = (
        "import os, signal, sys\n"
        "from contents import SELF, small_state\n"
        "from coupling.archive import ArchiveWriter\n"
        "with ArchiveWriter(sys.argv[1], SELF) as archive:\n"
        "    archive.append(small_state())\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "run.vtkhdf"
    folders = os.pathsep.join([os.getcwd(), str(ROOT / "tests/support")])
    words = [sys.executable, "-c", program, str(path)]
    killed = subprocess.run(words, env={**os.environ, "PYTHONPATH": folders}, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists() and len(list(tmp_path.iterdir())) == 1  # it had begun
    _small(path)
    assert list(tmp_path.iterdir()) == [path] and len(_contents(path)) == 3


def test_an_archive_without_states_is_none(tmp_path):
    with pytest.raises(FileError, match="no state was appended"), ArchiveWriter(tmp_path / "none.vtkhdf", SELF):
        pass
    with pytest.raises(OSError, match="missing"):
        _small(tmp_path / "missing" / "run.vtkhdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"precision": "float16"}, {"compression": 10}, {"compression": -1}])
def test_settings_that_do_not_exist_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ArchiveWriter(tmp_path / "run.vtkhdf", SELF, **settings)


TWO_MESHES = State(9.0, {**small_state(a=np.ones(4)).fields, **small_state(mesh=small_mesh(2), b=np.ones(8)).fields})
MISFITS = {
    "time of the last": (small_state(1.0), "must be after 1.0 s"),
    "no time": (small_state(np.nan), "must be after"),
    "another field": (small_state(2.0, b=np.ones(4)), "the archive holds"),
    "another shape": (small_state(2.0, a=np.ones((4, 3))), "the archive holds"),
    "no fields": (State(2.0, {}), "has no fields"),
    "two meshes": (TWO_MESHES, "2 meshes"),
    "too large": (small_state(2.0, a=[0, 1, 1e39, 2]), "1e.39 is too large for float32"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_state_that_does_not_fit_is_refused_and_not_added(tmp_path, case):
    state, message = MISFITS[case]
    with ArchiveWriter(tmp_path / "run.vtkhdf", SELF, "float32") as archive:
        archive.append(small_state(1.0))
        with pytest.raises(MeshError, match=message):
            archive.append(state)
        archive.append(small_state(3.0))
    assert _contents(tmp_path / "run.vtkhdf") == [content(small_state(t)) for t in (1.0, 3.0)]


@pytest.mark.parametrize("name", ["a/b", ".", "Time"])
def test_names_an_archive_cannot_hold_are_refused(tmp_path, name):
    with pytest.raises(MeshError, match="cannot hold that name"):
        _write(tmp_path / "run.vtkhdf", [small_state(**{name: np.ones(4)})])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused(fluidity_data, tmp_path, part):
    whole = _write(tmp_path / "whole.vtkhdf", _states_of(fluidity_data / "adaptive")).read_bytes()
    (tmp_path / "cut.vtkhdf").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(FileError, match="cut.vtkhdf: not a whole HDF5 file"):
        Archive(tmp_path / "cut.vtkhdf", SELF)


def test_a_damaged_chunk_is_noticed_when_read(fluidity_data, tmp_path):
    path = _write(tmp_path / "run.vtkhdf", _states_of(fluidity_data / "adaptive"))
    with h5py.File(path) as file:
        chunk = file["VTKHDF/PointData/Velocity"].id.get_chunk_info(0)
    with open(path, "r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"damage!!")
    with Archive(path, SELF) as archive:
        archive.read(0, ["Tracer"])
        with pytest.raises(FileError, match="run.vtkhdf: is damaged"):
            archive.read(0, ["Velocity"])


def _replace(name, values):
    def change(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = values
        file[name].attrs.update(attributes)

    return change


def _link(name):
    def change(file):
        file.move(name, "elsewhere")
        file[name] = h5py.SoftLink("/elsewhere")

    return change


def _set(name, row, value):
    def change(file):
        file[name][row] = value

    return change


def _attribute(name, value):
    return lambda file: file["VTKHDF"].attrs.__setitem__(name, value)


WRONG = {
    "no VTKHDF": (lambda file: file.move("VTKHDF", "Else"), "no group VTKHDF"),
    "an image": (_attribute("Type", np.bytes_("ImageData")), "of type ImageData, expected UnstructuredGrid"),
    "another version": (_attribute("Version", [9, 1]), r"version 9.1, expected 2.x"),
    "no steps": (lambda file: file.pop("VTKHDF/Steps"), "has no group Steps"),
    "no points": (lambda file: file.pop("VTKHDF/Points"), "no dataset VTKHDF/Points"),
    "falling times": (_set("VTKHDF/Steps/Values", 2, 0.5), "not 3 rising times"),
    "no times": (_replace("VTKHDF/Steps/Values", np.array([np.nan, 1, 2])), "not 3 rising times"),
    "too few places": (_replace("VTKHDF/Steps/PointOffsets", [0]), "one value for each step"),
    "places beyond": (_set("VTKHDF/Steps/PointDataOffsets/a", 2, 17), "Steps has rows 0 … 25 of"),
    "places before": (_set("VTKHDF/Steps/PointOffsets", 0, -1), "Steps has rows -1"),
    "parts beyond": (_set("VTKHDF/Steps/NumberOfParts", 1, 2), "beyond the 1 there are"),
    "larger parts": (_set("VTKHDF/NumberOfPoints", 0, 9), "room for every part"),
    "hexahedra": (_set("VTKHDF/Types", 1, 12), r"cells of VTK types \[10, 12\]; expected cells of one shape"),
    "other offsets": (_set("VTKHDF/Offsets", 1, 3), "Offsets are not those of tetrahedra"),
    "more nodes a cell": (_set("VTKHDF/NumberOfConnectivityIds", 0, 9), "without the 4 nodes of tetrahedra"),
    "nodes beyond": (_set("VTKHDF/Connectivity", 7, 8), "cells name nodes beyond the 8 it has"),
    "a moved point": (_set("VTKHDF/Points", 0, 0.5), "the file was changed or is damaged"),
    "another mesh": (_set("FluidityDA/mesh", 0, 3), "FluidityDA/mesh names meshes"),
    "words for numbers": (_replace("VTKHDF/Points", [b"x"] * 8), "holds object, expected numbers"),
    "a link": (_link("VTKHDF/Points"), "Points is a link, which is refused"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, case):
    change, message = WRONG[case]
    path = _small(tmp_path / "wrong.vtkhdf")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FileError, match=rf"wrong.vtkhdf: .*{message}"):
        Archive(path, SELF).read(0)


def test_a_closed_archive_says_so(tmp_path):
    with Archive(_small(tmp_path / "run.vtkhdf"), SELF) as archive:
        state = archive.read(0)
    archive.close()
    assert state["a"].values.shape == (8,)
    with pytest.raises(FileError, match="run.vtkhdf: is closed"):
        archive.read(0)


@pytest.mark.parametrize("name", EVERY_SHAPE)
def test_cells_of_every_shape_come_back_and_vtk_reads_them(name, tmp_path):
    meshes = [shaped_mesh(name), shaped_mesh(name, shake=0.1)]
    states = []
    for k, mesh in enumerate(meshes):
        fields = {"a": Field("a", mesh, mesh.points @ [1.0, 2.0, 3.0] + k), "b": Field("b", mesh, mesh.volumes, "cell")}
        states.append(State(float(k), fields))
    path = _write(tmp_path / "shapes.vtkhdf", states)
    assert _contents(path) == [content(s) for s in states]
    for state in states:
        reader = _vtk_reader(path)
        reader.UpdateTimeStep(state.time)
        grid = reader.GetOutputDataObject(0)
        assert {grid.GetCellType(k) for k in range(grid.GetNumberOfCells())} == {state["a"].mesh.shape.vtk}
        connectivity = vtk_to_numpy(grid.GetCells().GetConnectivityArray())
        np.testing.assert_array_equal(connectivity, state["a"].mesh.cells.ravel())
        np.testing.assert_array_equal(vtk_to_numpy(grid.GetPointData().GetArray("a")), state["a"].values)


def test_an_archive_has_cells_of_one_shape(tmp_path):
    states = []
    for k, name in enumerate(("triangles", "quadrilaterals")):
        mesh = shaped_mesh(name)
        states.append(State(float(k), {"a": Field("a", mesh, mesh.points[:, 0])}))
    with pytest.raises(MeshError, match="is on quadrilaterals, the archive holds triangles; pack these states into an"):
        _write(tmp_path / "two.vtkhdf", states)
