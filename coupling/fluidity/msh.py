"""Gmsh meshes with marked boundaries, read and written as Fluidity does.

meshio reads; writing is our own, because Fluidity's checkpoints are binary msh 2.1 with the
nodes and cells in the order of the run, each kind of cell in one block.
"""

import contextlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path

import meshio
import numpy as np

from coupling.common.files import FileError, whole_file
from coupling.geometry.shapes import HEXAHEDRON, ONE_SHAPE, QUADRILATERAL, TETRAHEDRON, TRIANGLE, Shape

# {shape of the cells: what meshio and gmsh call them, and the facets of their boundary}
_KINDS: dict[Shape, tuple[tuple[str, int], tuple[str, int]]] = {
    HEXAHEDRON: (("hexahedron", 5), ("quad", 3)),
    TETRAHEDRON: (("tetra", 4), ("triangle", 2)),
    QUADRILATERAL: (("quad", 3), ("line", 1)),
    TRIANGLE: (("triangle", 2), ("line", 1)),
}
_FACET_NODES = {"line": 2, "triangle": 3, "quad": 4}


@dataclass(frozen=True)
class GmshMesh:
    """The contents of a .msh file.

    points : (N, 3) float64 [m]
    cells : (E, n) int64, node numbers of the cells; n is 4 for tetrahedra
    cell_ids : (E,) int64, physical volume each cell belongs to
    facets : (F, m) int64, node numbers of the marked facets of the boundary, lines of a mesh of two dimensions
    facet_ids : (F,) int64, physical surface each facet belongs to
    shape : of the cells
    """

    points: np.ndarray
    cells: np.ndarray
    cell_ids: np.ndarray
    facets: np.ndarray
    facet_ids: np.ndarray
    shape: Shape = TETRAHEDRON


def read_msh(path: str | Path) -> GmshMesh:
    """Read a .msh file of format 2, ASCII or binary.

    Raises
    ------
    FileError
        if it is missing, broken, of another format, without cells of two or three dimensions, of cells of several
        shapes, or without physical ids
    """
    path = Path(path)
    _check_format(path)
    chatter = io.StringIO()
    try:
        # numpy 2 counts with the 32 bits of the file's own numbers, and only warns where they are too few
        with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter), np.errstate(over="raise"):
            mesh = meshio.read(path, file_format="gmsh")
    except (meshio.ReadError, ValueError, OSError, EOFError, KeyError, IndexError, AssertionError) as error:
        raise FileError(f"{path}: not a readable gmsh mesh: {error or type(error).__name__}") from None
    except (MemoryError, ArithmeticError):  # before memory is taken: its numbers of nodes and cells are made up
        raise FileError(f"{path}: claims more nodes or cells than memory holds; was it written whole?") from None
    shape = _shape(set(mesh.cells_dict), path)
    (kind, _), (facet, _) = _KINDS[shape]
    cells, cell_ids = _cells(mesh, kind, shape.n_nodes, path)
    facets, facet_ids = _cells(mesh, facet, _FACET_NODES[facet], path)
    points = np.ascontiguousarray(mesh.points, dtype=np.float64)
    if not np.array_equal(np.unique(cells), np.arange(len(points))):
        raise FileError(f"{path}: has nodes that none of its {shape.name} uses, or uses nodes that are not there")
    return GmshMesh(points, cells, cell_ids, facets, facet_ids, shape)


def _shape(kinds, path):
    """The shape of the cells of the highest dimension."""
    there = [shape for shape, ((kind, _), _) in _KINDS.items() if kind in kinds]
    dimension = max((shape.dimension for shape in there), default=0)
    there = [shape for shape in there if shape.dimension == dimension]
    others = kinds - {"vertex", "line", *(kind for (kind, _), _ in _KINDS.values())}
    if not there or others:
        raise FileError(
            f"{path}: holds {sorted(kinds)}, expected linear triangles, quadrilaterals, tetrahedra or hexahedra, and "
            "facets at their boundary; mesh it again with gmsh -order 1"
        )
    if len(there) > 1:
        raise FileError(f"{path}: holds {' and '.join(shape.name for shape in there)}; {ONE_SHAPE}")
    return there[0]


def _check_format(path):
    try:
        with open(path, "rb") as file:
            first, second = file.readline(64).strip(), file.readline(64).split()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    if first != b"$MeshFormat" or not second or not second[0].startswith(b"2"):
        version = second[0].decode(errors="replace") if first == b"$MeshFormat" and second else "no gmsh header"
        raise FileError(f"{path}: {version}, expected gmsh format 2; write it with gmsh -format msh22")


def _cells(mesh, kind, size, path):
    blocks = [block.data for block in mesh.cells if block.type == kind]
    if blocks and "gmsh:physical" not in mesh.cell_data:
        raise FileError(f"{path}: its cells carry no physical ids; mark surfaces and volumes as Physical in gmsh")
    ids = mesh.cell_data.get("gmsh:physical", [])
    marks = [np.asarray(i) for block, i in zip(mesh.cells, ids, strict=bool(ids)) if block.type == kind]
    cells = np.concatenate([np.empty((0, size)), *blocks]).astype(np.int64)
    return cells, np.concatenate([np.empty(0), *marks]).astype(np.int64)


def write_msh(mesh: GmshMesh, path: str | Path) -> None:
    """Write a GmshMesh as Fluidity's checkpoints have it (binary msh 2.1), whole or not at all."""
    nodes = np.empty(len(mesh.points), dtype=[("number", "<i4"), ("place", "<f8", 3)])
    nodes["number"] = np.arange(1, len(nodes) + 1)
    nodes["place"] = mesh.points
    with whole_file(path) as beside, open(beside, "wb") as file:
        file.write(b"$MeshFormat\n2.1 1 8\n" + np.int32(1).astype("<i4").tobytes() + b"\n$EndMeshFormat\n")
        file.write(f"$Nodes\n{len(nodes)}\n".encode() + nodes.tobytes() + b"\n$EndNodes\n")
        file.write(f"$Elements\n{len(mesh.facets) + len(mesh.cells)}\n".encode())
        (_, of_cells), (_, of_facets) = _KINDS[mesh.shape]
        file.write(_block(of_facets, mesh.facets, mesh.facet_ids, 1))
        file.write(_block(of_cells, mesh.cells, mesh.cell_ids, 1 + len(mesh.facets)))
        file.write(b"\n$EndElements\n")


def _block(kind, cells, ids, first):
    if len(cells) == 0:
        return b""
    numbers = np.arange(first, first + len(cells))
    # two tags: the physical id, and no elementary entity
    rows = np.column_stack([numbers, ids, np.zeros_like(ids), cells + 1])
    return np.array([kind, len(cells), 2], "<i4").tobytes() + rows.astype("<i4").tobytes()


# meshio writes its warnings through the root logger's last resort, onto stderr
logging.getLogger("meshio").addHandler(logging.NullHandler())
