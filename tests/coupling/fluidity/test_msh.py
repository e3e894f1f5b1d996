"""Gmsh meshes: what Fluidity wrote is read, and written again as it was."""

import resource

import meshio
import numpy as np
import pytest
from shaped_mesh import shape_named, shaped_cells

from coupling.common.files import FileError
from coupling.fluidity.msh import GmshMesh, read_msh, write_msh


@pytest.mark.parametrize(
    "name", ["serial/mini_CoordinateMesh_3_checkpoint.msh", "parallel/mini_CoordinateMesh_3_checkpoint_1.msh"]
)
def test_fluidity_checkpoint_is_written_again_byte_for_byte(fluidity_data, tmp_path, name):
    write_msh(read_msh(fluidity_data / name), tmp_path / "again.msh")
    assert (tmp_path / "again.msh").read_bytes() == (fluidity_data / name).read_bytes()


@pytest.mark.parametrize("name", ["serial/mesh.msh", "parallel/mesh_0.msh"])
def test_reads_what_gmsh_and_fluiditys_decomposer_write(fluidity_data, name, capfd):
    mesh = read_msh(fluidity_data / name)
    assert set(mesh.facet_ids) <= {1, 2, 3, 4, 5} and set(mesh.cell_ids) == {10}
    assert mesh.points.dtype == np.float64 and mesh.cells.shape[1] == 4 and mesh.facets.shape[1] == 3
    assert capfd.readouterr() == ("", "")


def test_a_mesh_without_marked_surfaces_round_trips(tmp_path):
    mesh = GmshMesh(
        np.vstack([np.zeros(3), np.eye(3)]),
        np.array([[0, 1, 2, 3]]),
        np.array([7]),
        np.empty((0, 3), int),
        np.empty(0, int),
    )
    write_msh(mesh, tmp_path / "one.msh")
    again = read_msh(tmp_path / "one.msh")
    assert np.array_equal(again.points, mesh.points) and again.cell_ids.tolist() == [7] and again.facets.shape == (0, 3)


@pytest.mark.parametrize("name", ["triangles", "quadrilaterals", "tetrahedra", "hexahedra"])
def test_meshes_of_every_linear_shape_come_back(name, tmp_path):
    """What meshio, which is not ours, writes is read, and so is what we write."""
    points, cells = shaped_cells(name)
    n = cells.shape[1]
    kind, facet = {
        "triangles": ("triangle", "line"),
        "quadrilaterals": ("quad", "line"),
        "tetrahedra": ("tetra", "triangle"),
        "hexahedra": ("hexahedron", "quad"),
    }[name]
    width = {"line": 2, "triangle": 3, "quad": 4}[facet]
    facets = cells[:3, :width]
    marks = [np.full(3, 5), np.arange(len(cells))]
    data = {"gmsh:physical": marks, "gmsh:geometrical": marks}
    mesh = meshio.Mesh(points, [(facet, facets), (kind, cells)], cell_data=data)
    meshio.gmsh.write(tmp_path / "a.msh", mesh, "2.2", binary=False)
    read = read_msh(tmp_path / "a.msh")
    write_msh(read, tmp_path / "b.msh")
    for again in (read, read_msh(tmp_path / "b.msh")):
        assert again.shape is shape_named(name) and again.cells.shape[1] == n
        np.testing.assert_allclose(again.points, points, rtol=1e-15)
        np.testing.assert_array_equal(again.cells, cells)
        np.testing.assert_array_equal(again.facets, facets)
        assert again.facet_ids.tolist() == [5, 5, 5] and again.cell_ids.tolist() == list(range(len(cells)))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([("triangle", [[0, 1, 2]]), ("quad", [[0, 1, 2, 3]])], "quadrilaterals and triangles; expected cells of one"),
        ([("tetra10", [list(range(10))])], "tetra10.*, expected linear .*; mesh it again with gmsh -order 1"),
        ([("line", [[0, 1]])], "'line'.*, expected linear triangles"),
        ([("wedge", [list(range(6))])], "'wedge'.*, expected linear triangles"),
    ],
)
def test_cells_that_cannot_be_used_are_refused(cells, words, tmp_path):
    points = np.random.default_rng(1).random((10, 3))
    marks = [np.ones(1, int)] * len(cells)
    mesh = meshio.Mesh(points, cells, cell_data={"gmsh:physical": marks, "gmsh:geometrical": marks})
    meshio.gmsh.write(tmp_path / "a.msh", mesh, "2.2", binary=False)
    with pytest.raises(FileError, match=words):
        read_msh(tmp_path / "a.msh")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", "no gmsh header"),
        (b"$MeshFormat\n4.1 1 8\n", "expected gmsh format 2"),
        (b"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$Nodes\nmany\n", "not a readable gmsh mesh"),
        (
            b"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$Nodes\n1\n1 0 0 0\n$EndNodes\n$Elements\n0\n$EndElements\n",
            "expected linear triangles",
        ),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, expected):
    (tmp_path / "bad.msh").write_bytes(content)
    with pytest.raises(FileError, match=expected) as caught:
        read_msh(tmp_path / "bad.msh")
    assert "bad.msh" in str(caught.value)


NODES = b"$MeshFormat\n2.1 1 8\n\1\0\0\0\n$EndMeshFormat\n$Nodes\n4\n" + b"".join(
    np.int32(k + 1).tobytes() + point.tobytes() for k, point in enumerate(np.vstack([np.zeros(3), np.eye(3)]))
)


@pytest.mark.parametrize("number", [b"2000000000", b"1" + b"0" * 12, b"9" * 30])
@pytest.mark.parametrize(
    "content",
    [
        NODES.replace(b"$Nodes\n4\n", b"$Nodes\nNUMBER\n"),
        b"$MeshFormat\n2.2 0 8\n$EndMeshFormat\n$Nodes\nNUMBER\n1 0 0 0\n$EndNodes\n",
        NODES + b"\n$EndNodes\n$Elements\nNUMBER\n" + np.array([4, 2**31 - 1, 2], "<i4").tobytes(),
        NODES + b"\n$EndNodes\n$Elements\nNUMBER\n" + np.array([4, 1, 2**31 - 1], "<i4").tobytes(),
    ],
    ids=["nodes", "nodes as text", "cells", "marks"],
)
def test_a_file_that_claims_more_than_it_holds_is_refused(tmp_path, content, number):
    (tmp_path / "bad.msh").write_bytes(content.replace(b"NUMBER", number))
    began = memory_taken()
    with pytest.raises(FileError, match="bad.msh: (claims more nodes or cells than memory holds|not a readable)"):
        read_msh(tmp_path / "bad.msh")
    assert memory_taken() - began < 100 * 2**10


def memory_taken():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB


def test_a_missing_or_truncated_file_is_refused(fluidity_data, tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        read_msh(tmp_path / "none.msh")
    whole = (fluidity_data / "serial" / "mini_CoordinateMesh_3_checkpoint.msh").read_bytes()
    (tmp_path / "half.msh").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError):
        read_msh(tmp_path / "half.msh")
