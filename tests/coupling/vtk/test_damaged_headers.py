"""Files at which VTK itself would end the process, or read beyond what there is: a sentence instead."""

import re
import struct

import numpy as np
import pytest
from contents import SELF, small_mesh, small_state
from vtkmodules import vtkIOCore
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

from coupling.common.files import FileError
from coupling.vtk.dumps import write_dump
from coupling.vtk.sizes import check_sizes
from coupling.vtk.vtu import add_array, as_grid, read_state, write_grid

N_CELLS = 300  # so that arrays have several blocks
COMPRESSORS = [None, "vtkZLibDataCompressor", "vtkLZ4DataCompressor", "vtkLZMADataCompressor"]
MODES = ["raw", "base64", "binary", "ascii"]


def written(path, compressor="vtkZLibDataCompressor", mode="raw", wide=False, last=None, nodes=None):
    """Write a mesh in one of VTK's ways; `last` replaces the last offset of its cells, `nodes` their nodes."""
    mesh = small_mesh(N_CELLS)
    grid = as_grid(mesh.points, mesh.cells if nodes is None else nodes)
    add_array(grid.GetPointData(), "a", np.arange(4.0 * N_CELLS))
    add_array(grid.GetPointData(), "Time", np.full(4 * N_CELLS, 1.5))
    writer = vtkXMLUnstructuredGridWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(grid)
    writer.SetBlockSize(1024)
    writer.SetCompressor(getattr(vtkIOCore, compressor)() if compressor else None)
    writer.SetHeaderTypeToUInt64() if wide else writer.SetHeaderTypeToUInt32()
    {"ascii": writer.SetDataModeToAscii, "binary": writer.SetDataModeToBinary}.get(mode, writer.SetDataModeToAppended)()
    writer.SetEncodeAppendedData(mode == "base64")
    if last is not None:
        vtk_to_numpy(grid.GetCells().GetOffsetsArray())[-1] = last
    assert writer.Write()
    return path


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_way_of_writing_is_read(tmp_path, compressor, mode, wide):
    state = read_state(written(tmp_path / "a.vtu", compressor, mode, wide), SELF)
    np.testing.assert_array_equal(state["a"].values, np.arange(4.0 * N_CELLS))
    np.testing.assert_array_equal(state["a"].mesh.cells, small_mesh(N_CELLS).cells)


@pytest.mark.parametrize("last", [1 << 60, 4 * N_CELLS + 1, -1])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_offsets_beyond_the_nodes_of_cells_are_refused(tmp_path, compressor, mode, last):
    """VTK takes memory for as many nodes as the last offset says, and ends the process if there is not enough."""
    path = written(tmp_path / "a.vtu", compressor, mode)
    check_sizes(path)
    if compressor is None and mode == "raw":
        offsets = np.arange(4, 4 * N_CELLS + 1, 4).tobytes()
        content = path.read_bytes()
        assert content.count(offsets) == 1
        path.write_bytes(content.replace(offsets, offsets[:-8] + struct.pack("<q", last)))
    else:
        written(path, compressor, mode, last=last)
    if mode == "ascii" and last == 4 * N_CELLS + 1:
        return  # as text there may be that many
    with pytest.raises(FileError, match="offsets of cells up to|do not rise by 4|not long enough"):
        read_state(path, SELF)


@pytest.mark.parametrize("block", [0, 1, 1023])
def test_blocks_that_vtk_would_divide_by_are_refused(tmp_path, block):
    content = written(tmp_path / "a.vtu").read_bytes()
    begin = content.index(b"_", content.index(b"<AppendedData")) + 1
    (tmp_path / "a.vtu").write_bytes(content[: begin + 4] + struct.pack("<I", block) + content[begin + 8 :])
    with pytest.raises(FileError, match=f"has blocks of {block} bytes"):
        read_state(tmp_path / "a.vtu", SELF)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (rb'type="Float64" Name="a"', b'type="String" Name="a"', "array a holds texts"),
        (rb'type="Float64" Name="a"', b'type="Bit" Name="a"', "array a of type 'Bit'"),
        (rb'<Piece', b'<FieldData><Array type="String" Name="t" NumberOfTuples="9" format="ascii">0</Array></FieldData>'
                     b"<Piece", "array t holds texts"),
        (rb'compressor="vtkZLib', b'compressor="vtkNoLib', "compressed by 'vtkNoLibDataCompressor'"),
    ],
)  # fmt: skip
def test_headers_that_vtk_would_not_survive_are_refused(tmp_path, old, new, message):
    path = written(tmp_path / "a.vtu")
    head, data = path.read_bytes().split(b"<AppendedData", 1)
    assert re.search(old, head)
    path.write_bytes(re.sub(old, new, head, count=1) + b"<AppendedData" + data)
    with pytest.raises(FileError, match=message):
        read_state(path, SELF)


def test_cells_without_any_node_are_refused(tmp_path):
    path = written(tmp_path / "a.vtu")
    content = path.read_bytes()
    offset = int(re.search(rb'Name="connectivity"[^>]*offset="(\d+)"', content)[1])
    at = content.index(b"_", content.index(b"<AppendedData")) + 1 + offset
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 :])
    with pytest.raises(FileError, match="connectivity is empty"):
        read_state(path, SELF)


@pytest.mark.parametrize("node", [4 * N_CELLS, 1 << 40, -1])
def test_cells_that_name_nodes_beyond_the_mesh_are_refused(tmp_path, node):
    nodes = small_mesh(N_CELLS).cells.copy()
    nodes[7, 2] = node
    with pytest.raises(FileError, match="its cells name nodes"):
        read_state(written(tmp_path / "a.vtu", nodes=nodes), SELF)


def test_a_time_of_several_components_is_refused(tmp_path):
    mesh = small_mesh(2)
    grid = as_grid(mesh.points, mesh.cells)
    add_array(grid.GetPointData(), "Time", np.ones((8, 3)))
    write_grid(grid, tmp_path / "a.vtu")
    with pytest.raises(FileError, match="'Time' has 3 components"):
        read_state(tmp_path / "a.vtu", SELF)


def test_a_state_of_small_meshes_is_still_read(tmp_path):
    for n_cells in (1, 2):
        mesh = small_mesh(n_cells)
        path = write_dump(small_state(0.0, mesh, a=np.arange(4.0 * n_cells)), tmp_path / "a", SELF)
        assert read_state(path, SELF)["a"].mesh.n_cells == n_cells
