"""Which polyhedron holds a point.

As for tetrahedra (:mod:`coupling.geometry.location`) each cell tests the points in its bounding box. A face's nodes lie
within its warp of its plane; a cell holds all that is on the inner side of its faces' planes by more than their warps.
What is nearer to a warped face, or on the outer side of a plane that cuts through its cell, is sought in tetrahedra
between the cell's centre and the triangles that its faces' areas are computed from. Both sides of a face have the same
triangles, so that cells leave no gaps between them, and what no cell holds is outside the mesh, for example in a
building.
"""

import numpy as np

from coupling.geometry.grid import Grid
from coupling.geometry.location import BATCH, Candidates, Located, grid_candidates, place_candidates
from coupling.geometry.pieces import Piece
from coupling.geometry.polyhedra import PolyhedralMesh, runs

_OUTSIDE = 1e-9  # how far outside a point may be, in parts of a cell's size: rounding, not geometry
_DIRECTION = np.array([1.0, np.sqrt(2.0), np.sqrt(3.0)])  # no two cells of a lattice are equally far along it


def precedence(mesh: PolyhedralMesh, cell: np.ndarray) -> np.ndarray:
    """(k,) of cells that touch in a point the one with the lowest number here counts as its cell.

    It follows from the cells' places, so that it is the same however a mesh is numbered or cut into pieces.
    """
    return mesh.centroids[cell] @ _DIRECTION


def locate_grid_in_polyhedra(mesh: PolyhedralMesh, piece: Piece, grid: Grid) -> Located:
    """Find the points of a grid in a piece of a mesh.

    Returns
    -------
    Located, `point` in the grid's numbering; all weights are one
    """
    low, high = (ends[piece.cells] for ends in mesh.cell_boxes)
    return _search(mesh, piece, *grid_candidates(low, high, grid))


def locate_points_in_polyhedra(mesh: PolyhedralMesh, piece: Piece, places: np.ndarray) -> Located:
    """Find scattered places, (k, 3) [m], in a piece of a mesh; see `locate_grid_in_polyhedra`."""
    low, high = (ends[piece.cells] for ends in mesh.cell_boxes)
    if len(places) == 0 or len(low) == 0:
        return Located(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 1)))
    return _search(mesh, piece, *place_candidates(low, high, places))


def _search(mesh: PolyhedralMesh, piece: Piece, work: np.ndarray, candidates: Candidates) -> Located:
    """Test candidates in batches of cells; keep for each point one cell that holds it."""
    hits = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    # a candidate is tested by six or more faces, if need be by as many times four triangles
    batch = np.cumsum(work) // (BATCH // 16)
    for run in np.split(np.arange(len(work)), np.flatnonzero(np.diff(batch)) + 1):
        which, point, places = candidates(run)
        cell = run[which] + piece.cells.start
        inside = holds(mesh, cell, places)
        hits.append((point[inside], cell[inside]))
    point, cell = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    order = np.lexsort((precedence(mesh, cell), point))
    point, first = np.unique(point[order], return_index=True)
    return Located(point, cell[order[first]] - piece.cells.start, np.ones((len(point), 1)))


def holds(mesh: PolyhedralMesh, cell: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(k,) bool: whether cell k holds place k.

    Parameters
    ----------
    mesh : PolyhedralMesh
    cell : (k,) numbers of cells
    places : (k, 3) [m]
    """
    low, high = mesh.cell_boxes
    slack = _OUTSIDE * np.linalg.norm(high[cell] - low[cell], axis=1)
    which, face, sign = _faces_of(mesh, cell)
    away = np.einsum("ki,ki->k", mesh.face_normals[face], places[which] - mesh.face_centres[face]) * sign
    result = ~_any_of(away > slack[which] - mesh.face_warps[face], which, len(cell))
    rest = np.flatnonzero(
        ~result & ((places >= low[cell] - slack[:, None]) & (places <= high[cell] + slack[:, None])).all(axis=1)
    )
    result[rest] = _in_tetrahedra(mesh, cell[rest], places[rest], slack[rest])
    return result


def _faces_of(mesh, cell):
    """For each face of each of some cells: which of them, the face, and 1 or −1 if its area points out or in."""
    offsets, face, sign = mesh.cell_faces
    count = np.diff(offsets)[cell]
    entries = runs(offsets[cell], count)
    return np.repeat(np.arange(len(cell)), count), face[entries], sign[entries]


def _any_of(flags, which, n):
    return np.bincount(which[flags], minlength=n) > 0


def _in_tetrahedra(mesh, cell, places, slack):
    pair, face, sign = _faces_of(mesh, cell)
    count = np.diff(mesh.face_offsets)[face]
    entries, of = runs(mesh.face_offsets[face], count), np.repeat(np.arange(len(face)), count)
    which = pair[of]
    middle = mesh.centroids[cell][which]
    corner, following = mesh.face_edges
    a, b, c = corner[entries] - middle, following[entries] - middle, mesh.face_centres[face[of]] - middle
    p = places[which] - middle
    volume = _determinant(a, b, c)
    # a triangle that is seen from behind bounds no part of the cell
    right = volume * sign[of] > 1e-14 * (slack[which] / _OUTSIDE) ** 3
    weights = np.stack([_determinant(p, b, c), _determinant(a, p, c), _determinant(a, b, p)])
    weights = weights[:, right] / volume[right]
    inside = np.zeros(len(right), bool)
    inside[right] = (weights.min(axis=0) >= -_OUTSIDE) & (weights.sum(axis=0) <= 1.0 + _OUTSIDE)
    return _any_of(inside, which, len(cell))


def _determinant(a, b, c):
    return np.einsum("ki,ki->k", a, np.cross(b, c))
