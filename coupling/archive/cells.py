"""A mesh's pieces as the arrays that an archive stores, and polyhedra back from them.

VTK's filters want each polyhedron to have faces that point out of it: with faces shared by two cells its slices have
holes. So each cell has its own in the file, and `FluidityDA/faces` says which are two sides of one: it has a number,
from 1, of the mesh's face for each, negative for its neighbour's side.
"""

from dataclasses import dataclass

import numpy as np
from vtkmodules.vtkCommonDataModel import VTK_POLYHEDRON

from coupling.common.files import FileError
from coupling.geometry.mesh import AnyMesh, Piece, PolyhedralMesh
from coupling.geometry.polyhedra import PolyhedralPart, runs
from coupling.vtk.vtu import DUPLICATE_CELL, GHOST

ROOT = "VTKHDF"
OURS = "FluidityDA"
MARKS = f"{ROOT}/CellData/{GHOST}"
SIDES = f"{OURS}/faces"


@dataclass(frozen=True)
class StoredArray:
    """One of a mesh's arrays in the file.

    name : path of its dataset
    tail : shape of a row
    kind : type of its numbers, as numpy writes it
    size : dataset with the number of its rows in each part, less `extra`
    place : dataset of a step's first row, or None where it follows from others'
    """

    name: str
    tail: tuple[int, ...]
    kind: str
    size: str | None = None
    place: str | None = None
    extra: int = 0


_OF_ANY_MESH = (
    StoredArray(f"{ROOT}/Points", (3,), "<f8", "NumberOfPoints", "PointOffsets"),
    StoredArray(f"{ROOT}/Connectivity", (), "<i8", "NumberOfConnectivityIds", "ConnectivityIdOffsets"),
    StoredArray(f"{ROOT}/Offsets", (), "<i8"),
    StoredArray(f"{ROOT}/Types", (), "|u1", "NumberOfCells", "CellOffsets"),
    StoredArray(MARKS, (), "|u1"),
)
_OF_POLYHEDRA = (
    StoredArray(f"{ROOT}/FaceConnectivity", (), "<i8", "NumberOfFaceConnectivityIds", "FaceConnectivityOffsets"),
    StoredArray(f"{ROOT}/FaceOffsets", (), "<i8", "NumberOfFaces", "FaceOffsetsOffsets", extra=1),
    StoredArray(f"{ROOT}/PolyhedronToFaces", (), "<i8", "NumberOfPolyhedronToFaceIds", "PolyhedronToFaceIdOffsets"),
    StoredArray(f"{ROOT}/PolyhedronOffsets", (), "<i8"),
    StoredArray(SIDES, (), "<i8"),
)


def stored_arrays(polyhedra: bool) -> tuple[StoredArray, ...]:
    """The arrays of a mesh of finite elements, or of polyhedra."""
    return (*_OF_ANY_MESH, *_OF_POLYHEDRA) if polyhedra else _OF_ANY_MESH


def arrays_of_piece(mesh: AnyMesh, piece: Piece) -> dict[str, np.ndarray]:
    """{path of a dataset: its rows} of a piece, numbered from 0."""
    n_cells = piece.cells.stop - piece.cells.start
    if isinstance(mesh, PolyhedralMesh):
        arrays, kind = _arrays_of_polyhedra(mesh, piece), VTK_POLYHEDRON
    else:
        cells, n = mesh.cells[piece.cells] - piece.nodes.start, mesh.shape.n_nodes
        arrays, kind = _cells(np.arange(0, n * n_cells + 1, n), cells.ravel()), mesh.shape.vtk
    return {
        f"{ROOT}/Points": mesh.points[piece.nodes],
        f"{ROOT}/Types": np.full(n_cells, kind, "|u1"),
        MARKS: mesh.ghost[piece.cells] * np.uint8(DUPLICATE_CELL),
        **arrays,
    }


def _cells(offsets, nodes):
    return {f"{ROOT}/Offsets": offsets, f"{ROOT}/Connectivity": nodes}


def _arrays_of_polyhedra(mesh, piece):
    of, (face_offsets, nodes) = mesh.cell_faces, mesh.outward_faces
    starts = of.offsets[piece.cells.start : piece.cells.stop + 1]
    entries = slice(starts[0], starts[-1])
    offsets = face_offsets[entries.start : entries.stop + 1]
    nodes = nodes[offsets[0] : offsets[-1]] - piece.nodes.start
    cell = np.repeat(of.cell[entries] - piece.cells.start, np.diff(offsets))
    pairs = np.unique(np.stack([cell, nodes]), axis=1)
    return {
        **_cells(np.searchsorted(pairs[0], np.arange(len(starts))), pairs[1]),
        f"{ROOT}/FaceConnectivity": nodes,
        f"{ROOT}/FaceOffsets": offsets - offsets[0],
        f"{ROOT}/PolyhedronToFaces": np.arange(entries.stop - entries.start),
        f"{ROOT}/PolyhedronOffsets": starts - starts[0],
        SIDES: of.sign[entries] * (of.face[entries] - piece.faces.start + 1),
    }


def polyhedra_of(
    points: np.ndarray, offsets: np.ndarray, face_offsets: np.ndarray, nodes: np.ndarray, sides: np.ndarray, name: str
) -> PolyhedralPart:
    """A piece of polyhedra from its arrays.

    Parameters
    ----------
    points : (N, 3) [m]
    offsets : (E + 1,) PolyhedronOffsets
    face_offsets : (K + 1,) FaceOffsets
    nodes : FaceConnectivity
    sides : (K,) `SIDES`
    name : of the piece, for the message

    Raises
    ------
    FileError
        if they contradict each other
    """
    n_sides = len(sides)
    runs_of = ((offsets, n_sides), (face_offsets, len(nodes)))
    if any(o[0] != 0 or o[-1] != n or (np.diff(o) < 0).any() for o, n in runs_of):
        raise FileError(f"{name}: its faces or their nodes do not follow one another")
    cell = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    owned, seen = np.flatnonzero(sides > 0), np.flatnonzero(sides < 0)
    owned = owned[np.argsort(sides[owned])]
    n_faces = len(owned)
    of_other = -1 - sides[seen]
    if not np.array_equal(sides[owned], np.arange(1, n_faces + 1)) or len(owned) + len(seen) != n_sides:
        raise FileError(f"{name}: {SIDES} are not the numbers 1 … {n_faces}, each with one owner")
    if len(np.unique(of_other)) != len(of_other) or of_other.max(initial=-1) >= n_faces:
        raise FileError(f"{name}: {SIDES} give a face two neighbours, or one beyond the {n_faces} that there are")
    neighbour = np.full(n_faces, -1, np.int64)
    neighbour[of_other] = cell[seen]
    size = np.diff(face_offsets)[owned]
    taken = nodes[runs(face_offsets[owned], size)]
    return PolyhedralPart(points, np.append(0, np.cumsum(size)), taken, cell[owned], neighbour)
