"""Marks of copies, of newer and older VTK, and cells that cannot be used."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import VTK_TETRA, VTK_WEDGE, vtkUnstructuredGrid
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

from coupling.archive import Archive, ArchiveWriter
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.vtk.dumps import write_dump
from coupling.vtk.marks import GHOST, GHOST_LEVELS
from coupling.vtk.vtu import add_array, as_grid, read_grid, read_state, write_grid

COMM = MPI.COMM_SELF
OLD = Path("tests/data/vtk/ghost-levels")
POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1.0]])
CELLS = np.array([[0, 1, 2, 3], [4, 1, 2, 3], [0, 1, 2, 4]])


def owned_volume(mesh):
    return mesh.volumes[~mesh.ghost].sum()


@pytest.mark.parametrize("names", [None, ["Tracer"], ["Velocity", "Tracer"], []])
def test_marks_of_older_vtk_are_read_whatever_is_asked_for(names):
    every = read_state(OLD / "earlier/tiny_3.pvtu", COMM)
    state = read_state(OLD / "earlier/tiny_3.pvtu", COMM, names)
    assert set(every.fields) == {"Tracer", "Velocity"}
    for field in state.fields.values():
        assert owned_volume(field.mesh) == pytest.approx(8000.0, rel=1e-12)  # a cube of 20 m
        assert field.mesh.fingerprint == every["Tracer"].mesh.fingerprint


def test_a_restart_of_older_vtk_keeps_its_marks(tmp_path):
    restart = open_restart(OLD / "tiny_3_checkpoint.flml")
    state = read_fields(restart, COMM)
    changes = {name: field.replaced(field.values + 1.0) for name, field in state.fields.items()}
    new = write_restart(restart, tmp_path / "new", COMM, changes)
    for name, source in new.fields.items():
        old = restart.fields[name]
        for k in range(2):
            before, after = (read_grid(s.path.with_suffix("") / f"{s.path.stem}_{k}.vtu") for s in (old, source))
            marks = [g.GetCellData().GetArray(GHOST_LEVELS) for g in (before, after)]
            np.testing.assert_array_equal(*map(vtk_to_numpy, marks))
            assert marks[1].GetDataType() == marks[0].GetDataType()
            assert after.GetCellData().GetArray(GHOST) is None
        assert GHOST_LEVELS in source.path.read_text()
        assert owned_volume(read_state(source.path, COMM, time=0.0)[source.array].mesh) == pytest.approx(8000.0)


def marked(path, at_cells=(), at_points=(), mode="appended"):
    """Write a mesh of three cells with marks; {name: values}."""
    grid = as_grid(POINTS, CELLS)
    add_array(grid.GetPointData(), "a", np.arange(5.0))
    add_array(grid.GetPointData(), "Time", np.full(5, 2.0))
    for data, arrays in ((grid.GetCellData(), dict(at_cells)), (grid.GetPointData(), dict(at_points))):
        for name, values in arrays.items():
            add_array(data, name, np.asarray(values))
    writer = vtkXMLUnstructuredGridWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(grid)
    {"appended": writer.SetDataModeToAppended, "ascii": writer.SetDataModeToAscii}.get(
        mode, writer.SetDataModeToBinary
    )()
    writer.Write()
    return path


@pytest.mark.parametrize("mode", ["appended", "binary", "ascii"])
@pytest.mark.parametrize("kind", [np.uint8, np.int32])
@pytest.mark.parametrize("version", [b"0.1", b"1.0", b"2.2"])
def test_every_level_above_zero_is_a_copy(tmp_path, mode, kind, version):
    path = marked(tmp_path / "a.vtu", {GHOST_LEVELS: kind([0, 2, 1])}, {GHOST_LEVELS: kind([0, 1, 0, 2, 0])}, mode)
    head, body = path.read_bytes().split(b"byte_order", 1)
    path.write_bytes(re.sub(rb'Grid" version="...', b'Grid" version="' + version, head) + b"byte_order" + body)
    for names in (None, ["a"]):
        state = read_state(path, COMM, names)
        assert list(state.fields) == ["a"]
        assert state["a"].mesh.ghost.tolist() == [False, True, True]
    grid = read_grid(path)
    write_grid(grid, tmp_path / "b.vtu")
    again = read_grid(tmp_path / "b.vtu")
    np.testing.assert_array_equal(vtk_to_numpy(again.GetCellData().GetArray(GHOST_LEVELS)), [0, 2, 1])
    np.testing.assert_array_equal(vtk_to_numpy(again.GetPointData().GetArray(GHOST_LEVELS)), [0, 1, 0, 2, 0])


def test_of_marks_that_are_bits_one_bit_says_that_a_cell_is_a_copy(tmp_path):
    path = marked(tmp_path / "a.vtu", {GHOST: np.uint8([16, 17, 1])}, {GHOST: np.uint8([0, 1, 0, 1, 0])})
    state = read_state(path, COMM)
    assert list(state.fields) == ["a"] and state["a"].mesh.ghost.tolist() == [False, True, True]


def test_marks_are_no_fields_of_a_series_and_come_back_from_an_archive(tmp_path):
    path = marked(tmp_path / "a.vtu", {GHOST_LEVELS: np.uint8([0, 1, 0])}, {GHOST: np.uint8([0, 1, 0, 1, 0])})
    with open_series(path, COMM) as series:
        assert series.field_names == ("a",)
    state = read_state(path, COMM)
    with ArchiveWriter(tmp_path / "a.vtkhdf", COMM) as archive:
        archive.append(state)
    with Archive(tmp_path / "a.vtkhdf", COMM) as archive:
        assert archive.read(0)["a"].mesh.fingerprint == state["a"].mesh.fingerprint
    again = read_state(write_dump(state, tmp_path / "again", COMM), COMM)
    assert set(again.fields) == {"a"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({GHOST: np.array([0.0, 1.0, 0.0])}, "'vtkGhostType' is float64 of shape .3,., expected one whole number"),
        ({GHOST_LEVELS: np.uint8([[0, 1], [1, 0], [0, 0]])}, r"'vtkGhostLevels' is uint8 of shape \(3, 2\)"),
        ({GHOST_LEVELS: np.uint8([0, 1, 0]), GHOST: np.uint8([0, 1, 1])}, "mark different cells"),
    ],
)
def test_marks_that_are_none_are_refused(tmp_path, arrays, message):
    path = marked(tmp_path / "a.vtu", arrays)
    with pytest.raises(FileError, match=message):
        read_state(path, COMM)


def test_polyhedra_are_refused_as_the_cells_they_are(tmp_path):
    with pytest.raises(
        FileError, match=r"polyhedra.vtu: cells of VTK types \[42\], expected triangles \(5\), tetrahedra \(10\), "
    ):
        read_state("tests/data/vtk/polyhedra.vtu", COMM)


@pytest.mark.parametrize(("kinds", "sizes"), [([VTK_WEDGE], [6]), ([VTK_TETRA, VTK_WEDGE], [4, 6]), ([5, 9], [3, 4])])
def test_other_cells_are_refused_as_what_they_are(tmp_path, kinds, sizes):
    grid = vtkUnstructuredGrid()
    grid.SetPoints(as_grid(np.random.default_rng(1).random((8, 3)), CELLS[:1]).GetPoints())
    for kind, size in zip(kinds, sizes, strict=True):
        grid.InsertNextCell(kind, size, range(size))
    time = numpy_to_vtk(np.zeros(8), deep=True)
    time.SetName("Time")
    grid.GetPointData().AddArray(time)
    write_grid(grid, tmp_path / "a.vtu")
    with pytest.raises(FileError, match=rf"cells of VTK types \[{', '.join(map(str, sorted(kinds)))}\]"):
        read_state(tmp_path / "a.vtu", COMM)


def test_tetrahedra_whose_nodes_are_counted_otherwise_are_refused(tmp_path):
    path = marked(tmp_path / "a.vtu", mode="ascii")
    text = path.read_text()
    assert "4 8 12" in text
    path.write_text(text.replace("4 8 12", "5 9 12"))
    with pytest.raises(FileError, match="offsets do not rise by 4"):
        read_state(path, COMM)


def test_a_piece_that_is_named_twice_is_refused(tmp_path):
    shutil.copytree(OLD / "earlier", tmp_path / "dumps")
    path = tmp_path / "dumps/tiny_3.pvtu"
    path.write_text(path.read_text().replace("tiny_3_1.vtu", "tiny_3_0.vtu"))
    with pytest.raises(FileError, match="names its piece .*tiny_3_0.vtu twice"):
        read_state(path, COMM)
