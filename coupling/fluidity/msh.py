"""Gmsh meshes of tetrahedra with marked boundary triangles, read and written as Fluidity does.

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

_TRIANGLE, _TETRAHEDRON = 2, 4


@dataclass(frozen=True)
class GmshMesh:
    """The contents of a .msh file.

    points : (N, 3) float64 [m]
    cells : (E, 4) int64, node numbers of the tetrahedra
    cell_ids : (E,) int64, physical volume each cell belongs to
    facets : (F, 3) int64, node numbers of the marked boundary triangles
    facet_ids : (F,) int64, physical surface each facet belongs to
    """

    points: np.ndarray
    cells: np.ndarray
    cell_ids: np.ndarray
    facets: np.ndarray
    facet_ids: np.ndarray


def read_msh(path: str | Path) -> GmshMesh:
    """Read a .msh file of format 2, ASCII or binary.

    Raises
    ------
    FileError
        if it is missing, broken, of another format, or without tetrahedra or physical ids
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
    if "tetra" not in mesh.cells_dict:
        raise FileError(f"{path}: holds {sorted(mesh.cells_dict)}, expected tetrahedra (and triangles at the boundary)")
    cells, cell_ids = _cells(mesh, "tetra", 4, path)
    facets, facet_ids = _cells(mesh, "triangle", 3, path)
    points = np.ascontiguousarray(mesh.points, dtype=np.float64)
    if not np.array_equal(np.unique(cells), np.arange(len(points))):
        raise FileError(f"{path}: has nodes that no tetrahedron uses, or uses nodes that are not there")
    return GmshMesh(points, cells, cell_ids, facets, facet_ids)


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
        file.write(_block(_TRIANGLE, mesh.facets, mesh.facet_ids, 1))
        file.write(_block(_TETRAHEDRON, mesh.cells, mesh.cell_ids, 1 + len(mesh.facets)))
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
