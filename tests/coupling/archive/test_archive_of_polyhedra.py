"""Archives of polyhedra: the same mesh and values back, VTK's slices without holes, and files that are damaged."""

import h5py
import numpy as np
import pytest
from contents import SELF, content, small_state
from polyhedra import small_mesh, street_in_pieces, street_mesh, street_states
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import VTK_POLYHEDRON, vtkPlane
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkFiltersCore import vtkCutter, vtkMassProperties, vtkTriangleFilter
from vtkmodules.vtkIOHDF import vtkHDFReader, vtkHDFWriter

from coupling.archive import Archive, ArchiveWriter, describe, join_archives
from coupling.archive.by_variable import join_by_variable
from coupling.common.files import FileError
from coupling.geometry.mesh import Field, MeshError, State


def _write(path, states, **settings):
    with ArchiveWriter(path, SELF, **settings) as archive:
        for state in states:
            archive.append(state)
    return path


def _contents(path):
    with Archive(path, SELF) as archive:
        return [content(archive.read(step)) for step in range(len(archive))]


def _in_cells(mesh, time=0.0):
    return State(time, {"T": Field("T", mesh, mesh.centroids @ [1.0, 2.0, 3.0] + time, "cell")})


@pytest.mark.parametrize("mesh", [small_mesh, street_mesh, lambda: street_in_pieces(SELF)])
def test_mesh_and_values_come_back_bit_for_bit(tmp_path, mesh):
    state = _in_cells(mesh())
    assert _contents(_write(tmp_path / "a.vtkhdf", [state])) == [content(state)]


def test_meshes_that_change_come_back_in_any_order(tmp_path):
    meshes = small_mesh(), street_in_pieces(SELF), street_mesh(), street_in_pieces(SELF)
    states = [_in_cells(mesh, float(k)) for k, mesh in enumerate(meshes)]
    path = _write(tmp_path / "changing.vtkhdf", states)
    with Archive(path, SELF) as archive:
        for step in (3, 0, 2, 1, 2):
            assert content(archive.read(step)) == content(states[step])
    assert [(m.nodes, m.cells, m.parts, m.steps) for m in describe(path)[2]] == [
        (of.n_nodes, of.n_cells, of.n_pieces, steps) for of, steps in zip(meshes[:3], (1, 2, 1), strict=True)
    ]


def _vtk_pieces(path, time):
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    times = reader.GetOutputInformation(0).Get(vtkStreamingDemandDrivenPipeline.TIME_STEPS())
    reader.UpdateTimeStep(time)
    whole = reader.GetOutputDataObject(0)
    if whole.IsA("vtkUnstructuredGrid"):
        return list(times or ()), [whole]
    return list(times or ()), [whole.GetPartitionAsDataObject(k) for k in range(whole.GetNumberOfPartitions())]


@pytest.mark.parametrize("n_pieces", [1, 5])
def test_vtk_opens_it_as_a_time_series_of_polyhedra(tmp_path, n_pieces):
    states = list(street_states(SELF, pieces=n_pieces))
    path = _write(tmp_path / "run.vtkhdf", states)
    for state in [*states, states[0]]:
        times, grids = _vtk_pieces(path, state.time)
        mesh = state["T"].mesh
        assert times == [0.0, 1.0, 2.0] and len(grids) == n_pieces
        for grid, piece in zip(grids, mesh.pieces, strict=True):
            np.testing.assert_array_equal(vtk_to_numpy(grid.GetPoints().GetData()), mesh.points[piece.nodes])
            assert {grid.GetCellType(k) for k in range(grid.GetNumberOfCells())} == {VTK_POLYHEDRON}
            faces = [grid.GetCell(k).GetNumberOfFaces() for k in range(grid.GetNumberOfCells())]
            np.testing.assert_array_equal(faces, np.diff(mesh.cell_faces.offsets)[piece.cells])
            for name in ("T", "U"):
                values = vtk_to_numpy(grid.GetCellData().GetArray(name))
                np.testing.assert_array_equal(values, state[name].values[piece.cells])


@pytest.mark.parametrize("height", [3.0, 12.0, 36.0])
def test_slices_have_no_holes(tmp_path, height):
    mesh = street_mesh()  # 80 × 60 × 40 m, with a building of 20 × 20 m that is 24 m high
    _, (grid,) = _vtk_pieces(_write(tmp_path / "a.vtkhdf", [_in_cells(mesh)]), 0.0)
    plane, cutter, triangles, size = vtkPlane(), vtkCutter(), vtkTriangleFilter(), vtkMassProperties()
    plane.SetOrigin(0.0, 0.0, height)
    plane.SetNormal(0.0, 0.0, 1.0)
    cutter.SetCutFunction(plane)
    cutter.SetInputData(grid)
    triangles.SetInputConnection(cutter.GetOutputPort())
    size.SetInputConnection(triangles.GetOutputPort())
    size.Update()
    assert size.GetSurfaceArea() == pytest.approx(4800.0 - 400.0 * (height < 24.0), rel=1e-6)


def test_archives_are_joined_by_chunks_and_by_variable(tmp_path):
    states = list(street_states(SELF, 4))
    parts = [_write(tmp_path / f"{k}.vtkhdf", states[2 * k : 2 * k + 2]) for k in range(2)]
    join_archives(parts, tmp_path / "whole.vtkhdf", SELF, compression=9)
    assert _contents(tmp_path / "whole.vtkhdf") == [content(state) for state in states]
    assert _vtk_pieces(tmp_path / "whole.vtkhdf", 3.0)[0] == [0.0, 1.0, 2.0, 3.0]
    with h5py.File(tmp_path / "whole.vtkhdf") as whole:
        assert whole["VTKHDF/CellData/T"].compression_opts == 4  # copied, not written anew
    split = [
        _write(tmp_path / f"{name}.vtkhdf", [State(s.time, {name: s[name]}) for s in states]) for name in ("T", "U")
    ]
    (joined,) = join_by_variable([Archive(path, SELF) for path in split])
    with joined:
        assert [content(joined.read(k)) for k in range(4)] == [content(state) for state in states]


def test_a_failure_leaves_an_older_file_and_nothing_beside(tmp_path):
    path = _write(tmp_path / "run.vtkhdf", street_states(SELF))
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="no power"):
        with ArchiveWriter(path, SELF) as archive:
            archive.append(_in_cells(small_mesh()))
            raise RuntimeError("no power")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_tetrahedra_and_polyhedra_do_not_mix(tmp_path):
    tetrahedra = small_state(5.0)["a"].mesh
    with ArchiveWriter(tmp_path / "a.vtkhdf", SELF) as archive:
        archive.append(_in_cells(street_mesh()))
        with pytest.raises(MeshError, match="is on tetrahedra, the archive holds polyhedra"):
            archive.append(State(5.0, {"T": Field("T", tetrahedra, np.zeros(1), "cell")}))
    with ArchiveWriter(tmp_path / "b.vtkhdf", SELF) as archive:
        archive.append(State(0.0, {"T": Field("T", tetrahedra, np.zeros(1), "cell")}))
        with pytest.raises(MeshError, match="is on polyhedra, the archive holds tetrahedra"):
            archive.append(_in_cells(street_mesh(), 5.0))


def test_a_file_that_vtk_wrote_is_refused(tmp_path):
    reader, writer = vtkHDFReader(), vtkHDFWriter()
    reader.SetFileName(str(_write(tmp_path / "ours.vtkhdf", street_states(SELF))))
    writer.SetInputConnection(reader.GetOutputPort())
    writer.SetFileName(str(tmp_path / "vtk.vtkhdf"))
    writer.SetWriteAllTimeSteps(True)
    assert writer.Write()
    with pytest.raises(FileError, match="vtk.vtkhdf: polyhedra of another program: FluidityDA/faces is missing"):
        Archive(tmp_path / "vtk.vtkhdf", SELF)


def _set(name, row, value):
    def change(file):
        file[name][row] = value

    return change


WRONG = {
    "tetrahedra": (_set("VTKHDF/Types", 1, 10), r"cells of VTK types \[10, 42\]"),
    "a moved point": (_set("VTKHDF/Points", 0, 0.5), "the file was changed or is damaged"),
    "nodes beyond": (_set("VTKHDF/FaceConnectivity", 0, 10**9), "faces name nodes"),
    "another node": (_set("VTKHDF/FaceConnectivity", 0, 7), "the file was changed or is damaged"),
    "falling faces": (_set("VTKHDF/FaceOffsets", 1, -9), "do not follow one another"),
    "falling cells": (_set("VTKHDF/PolyhedronOffsets", 1, 10**9), "do not follow one another"),
    "a face twice": (_set("FluidityDA/faces", 0, 2), r"are not the numbers 1 … \d+, each with one owner"),
    "a face that is none": (_set("FluidityDA/faces", 0, 0), "are not the numbers"),
    "a neighbour beyond": (lambda file: _neighbour_beyond(file), "or one beyond the"),
    "more faces": (_set("VTKHDF/NumberOfPolyhedronToFaceIds", 0, 10**15), "do not fit its parts"),
    "fewer nodes": (_set("VTKHDF/NumberOfFaceConnectivityIds", 0, -1), "do not fit its parts"),
    "places beyond": (_set("VTKHDF/Steps/FaceOffsetsOffsets", 2, 10**6), "Steps has rows 0 … "),
    "no faces of ours": (lambda file: file.pop("FluidityDA/faces"), "polyhedra of another program"),
    "no faces": (lambda file: file.pop("VTKHDF/FaceOffsets"), "no dataset VTKHDF/FaceOffsets"),
}


def _neighbour_beyond(file):
    faces = file["FluidityDA/faces"]
    faces[np.flatnonzero(faces[...] < 0)[0]] = -(10**9)


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, case):
    change, message = WRONG[case]
    path = _write(tmp_path / "wrong.vtkhdf", street_states(SELF, pieces=1))
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(FileError, match=rf"wrong.vtkhdf: .*{message}"):
        Archive(path, SELF).read(0)
