"""Meshes of cells of any shape, given by their faces, as finite-volume simulations have them.

A face lists its nodes counter-clockwise as seen from outside its owner; a cell is what its faces enclose. Centres,
areas and volumes are those of OpenFOAM: a face is the triangles between its edges and the mean of its nodes, a cell the
pyramids between its faces and the mean of their centres. Values are those of cells; each cell is in one piece: there
are no ghosts.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from mpi4py import MPI

from coupling.geometry.pieces import MeshError, Piece, bounds_of_points, fingerprint_of_pieces


class PolyhedralPart(NamedTuple):
    """One piece of a mesh of polyhedra, as it is read.

    points : (N, 3) float64 [m]
    face_offsets : (F + 1,) where each face's nodes begin in `face_nodes`, from 0
    face_nodes : (K,) numbers of nodes
    owner : (F,) cell that the face is of, and points away from
    neighbour : (F,) cell on its other side, −1 on the boundary and at seams with other pieces
    """

    points: np.ndarray
    face_offsets: np.ndarray
    face_nodes: np.ndarray
    owner: np.ndarray
    neighbour: np.ndarray


class CellFaces(NamedTuple):
    """Faces by cell.

    offsets : (E + 1,) where each cell's entries begin
    face : (K,) numbers of faces
    sign : (K,) 1 where the cell owns the face, −1 where it is the neighbour: area vector times sign points outwards
    """

    offsets: np.ndarray
    face: np.ndarray
    sign: np.ndarray

    @property
    def cell(self) -> np.ndarray:
        """(K,) the cell of each entry."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True)
class PolyhedralMesh:
    """This rank's pieces of a mesh of polyhedra, one after another.

    points, face_offsets, face_nodes, owner, neighbour : as in `PolyhedralPart`; numbers are those of the rank's arrays
    pieces : the rank's pieces, in rising order of their index
    n_pieces : number of pieces over all ranks
    fingerprint : hash of all pieces' points and faces, the same on every rank
    """

    points: np.ndarray
    face_offsets: np.ndarray
    face_nodes: np.ndarray
    owner: np.ndarray
    neighbour: np.ndarray
    pieces: tuple[Piece, ...]
    n_pieces: int
    fingerprint: str

    @property
    def n_nodes(self) -> int:
        """Nodes on this rank, seam nodes counted in each piece."""
        return len(self.points)

    @property
    def n_cells(self) -> int:
        """Cells on this rank."""
        return self.pieces[-1].cells.stop if self.pieces else 0

    @property
    def n_faces(self) -> int:
        """Faces on this rank, those of seams counted in each piece."""
        return len(self.owner)

    @cached_property
    def ghost(self) -> np.ndarray:
        """(E,) bool, all false."""
        return np.zeros(self.n_cells, bool)

    @cached_property
    def cell_faces(self) -> CellFaces:
        """Faces by cell, in rising order."""
        inner = np.flatnonzero(self.neighbour >= 0)
        cell = np.concatenate([self.owner, self.neighbour[inner]])
        face = np.concatenate([np.arange(self.n_faces), inner])
        sign = np.repeat([1, -1], [self.n_faces, len(inner)])
        order = np.lexsort((face, cell))
        offsets = np.searchsorted(cell[order], np.arange(self.n_cells + 1))
        return CellFaces(offsets, face[order], sign[order])

    @cached_property
    def _following(self) -> np.ndarray:
        """(K,) for each entry of `face_nodes` the next of its face."""
        following = np.arange(1, len(self.face_nodes) + 1)
        following[self.face_offsets[1:] - 1] = self.face_offsets[:-1]
        return following

    @property
    def edge_lengths(self) -> np.ndarray:
        """(K,) lengths of the faces' edges [m], each edge once for every face that has it."""
        corner, following = self.face_edges
        return np.linalg.norm(following - corner, axis=1)

    @cached_property
    def _faces(self) -> tuple[np.ndarray, np.ndarray]:
        start, size = self.face_offsets[:-1], np.diff(self.face_offsets)
        corner, next_corner = self.face_edges
        mean = _sums(corner, start) / size[:, None]
        middle = np.repeat(mean, size, axis=0)
        normal = np.cross(next_corner - corner, middle - corner)
        area = np.linalg.norm(normal, axis=1)
        total = _sums(area, start)
        weighted = _sums(area[:, None] * (corner + next_corner + middle), start)
        flat = total <= 0
        centre = np.where(flat[:, None], mean, weighted / np.where(flat, 1.0, total)[:, None] / 3.0)
        vectors = 0.5 * _sums(normal, start)
        triangle = size == 3
        centre[triangle] = mean[triangle]
        return centre, vectors

    @property
    def face_centres(self) -> np.ndarray:
        """(F, 3) centres of the faces [m]."""
        return self._faces[0]

    @property
    def face_area_vectors(self) -> np.ndarray:
        """(F, 3) areas [m²] times normals that point out of the owner."""
        return self._faces[1]

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray]:
        offsets, face, sign = self.cell_faces
        start, cell = offsets[:-1], self.cell_faces.cell
        estimate = _sums(self.face_centres[face], start) / np.diff(offsets)[:, None]
        outward = self.face_area_vectors[face] * sign[:, None]
        pyramid = np.einsum("ki,ki->k", outward, self.face_centres[face] - estimate[cell])
        volume = _sums(pyramid, start)
        middle = 0.75 * self.face_centres[face] + 0.25 * estimate[cell]
        flat = np.abs(volume) <= np.finfo(float).tiny
        centre = _sums(pyramid[:, None] * middle, start) / np.where(flat, 1.0, volume)[:, None]
        return np.where(flat[:, None], estimate, centre), volume / 3.0

    @property
    def centroids(self) -> np.ndarray:
        """(E, 3) centres of the cells [m]."""
        return self._cells[0]

    @property
    def volumes(self) -> np.ndarray:
        """(E,) volumes of the cells [m³]."""
        return self._cells[1]

    def bounds(self, comm: MPI.Comm) -> np.ndarray:
        """(2, 3) lowest and highest coordinates over all ranks [m]. Collective."""
        return bounds_of_points(self.points, comm)

    @cached_property
    def cell_boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corners of the cells, (E, 3) each [m]."""
        of, corner, start = self.cell_faces, self.points[self.face_nodes], self.face_offsets[:-1]
        if not self.n_faces:
            return np.zeros((0, 3)), np.zeros((0, 3))
        low, high = np.minimum.reduceat(corner, start, axis=0), np.maximum.reduceat(corner, start, axis=0)
        first = of.offsets[:-1]
        return np.minimum.reduceat(low[of.face], first, axis=0), np.maximum.reduceat(high[of.face], first, axis=0)

    @cached_property
    def cell_reach(self) -> np.ndarray:
        """(E,) how far a cell's box reaches from its centre [m]."""
        low, high = self.cell_boxes
        return np.linalg.norm(np.maximum(high - self.centroids, self.centroids - low), axis=1)

    @property
    def face_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, 3) both ends [m] of the edges that begin at `face_nodes`."""
        corner = self.points[self.face_nodes]
        return corner, corner[self._following]

    @cached_property
    def face_normals(self) -> np.ndarray:
        """(F, 3) normals of length one that point out of the owner; zero where the face has no area."""
        area = np.linalg.norm(self.face_area_vectors, axis=1)
        return self.face_area_vectors / np.where(area > 0, area, 1.0)[:, None]

    @cached_property
    def face_warps(self) -> np.ndarray:
        """(F,) how far nodes are from the plane through the face's centre [m]."""
        size, start = np.diff(self.face_offsets), self.face_offsets[:-1]
        away = self.points[self.face_nodes] - np.repeat(self.face_centres, size, axis=0)
        off = np.abs(np.einsum("ki,ki->k", np.repeat(self.face_normals, size, axis=0), away))
        return np.maximum.reduceat(off, start) if len(start) else off

    @property
    def outward_faces(self) -> tuple[np.ndarray, np.ndarray]:
        """(K + 1,) offsets and nodes of `cell_faces`, counter-clockwise as seen from outside the cell."""
        of, first = self.cell_faces, self.face_offsets
        size = np.diff(first)[of.face]
        offsets = np.append(0, np.cumsum(size))
        step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], size)
        # from its other side a face's nodes are seen in the other order
        step = np.where(np.repeat(of.sign > 0, size), step, np.repeat(size, size) - 1 - step)
        return offsets, self.face_nodes[step + np.repeat(first[of.face], size)]

    @property
    def face_streams(self) -> tuple[np.ndarray, np.ndarray]:
        """(E + 1,) offsets, and each cell's faces as VTK has them: how many, then each face's size and nodes."""
        of, (first, nodes) = self.cell_faces, self.outward_faces
        streams = np.insert(nodes, first[:-1], np.diff(first))
        offsets = (first + np.arange(len(first)))[of.offsets]
        return offsets + np.arange(len(offsets)), np.insert(streams, offsets[:-1], np.diff(of.offsets))

    def part(self, piece: Piece) -> PolyhedralPart:
        """A piece by itself, its numbers from 0."""
        faces, first = piece.faces, self.face_offsets[piece.faces.start]
        neighbour = self.neighbour[faces]
        return PolyhedralPart(
            self.points[piece.nodes],
            self.face_offsets[faces.start : faces.stop + 1] - first,
            self.face_nodes[first : self.face_offsets[faces.stop]] - piece.nodes.start,
            self.owner[faces] - piece.cells.start,
            np.where(neighbour < 0, -1, neighbour - piece.cells.start),
        )


def join_polyhedra(parts: Sequence[tuple[int, PolyhedralPart]], n_pieces: int, comm: MPI.Comm) -> PolyhedralMesh:
    """Make the rank's mesh of the pieces it read. Collective.

    Parameters
    ----------
    parts : (index, PolyhedralPart) of the rank's pieces, in rising order
    n_pieces : number of pieces over all ranks
    comm : MPI communicator

    Returns
    -------
    PolyhedralMesh

    Raises
    ------
    MeshError
        if the pieces over all ranks are not 0 … n_pieces − 1, each once, or a piece contradicts itself
    """
    pieces, n_nodes, n_faces, n_cells, n_entries = [], 0, 0, 0, 0
    points, offsets, nodes = [np.empty((0, 3))], [np.zeros(1, np.int64)], [np.empty(0, np.int64)]
    owners, neighbours = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for index, part in parts:
        cells = checked_cells(part, f"piece {index} of the mesh")
        points.append(np.asarray(part.points, np.float64))
        offsets.append(np.asarray(part.face_offsets[1:], np.int64) + n_entries)
        nodes.append(np.asarray(part.face_nodes, np.int64) + n_nodes)
        owners.append(np.asarray(part.owner, np.int64) + n_cells)
        neighbours.append(np.where(np.asarray(part.neighbour) < 0, -1, np.asarray(part.neighbour, np.int64) + n_cells))
        at_nodes = slice(n_nodes, n_nodes + len(part.points))
        at_cells = slice(n_cells, n_cells + cells)
        at_faces = slice(n_faces, n_faces + len(part.owner))
        pieces.append(Piece(index, at_nodes, at_cells, part_fingerprint(part), at_faces))
        n_nodes, n_cells, n_faces = at_nodes.stop, at_cells.stop, at_faces.stop
        n_entries += len(part.face_nodes)
    return PolyhedralMesh(
        points=np.concatenate(points),
        face_offsets=np.concatenate(offsets),
        face_nodes=np.concatenate(nodes),
        owner=np.concatenate(owners),
        neighbour=np.concatenate(neighbours),
        pieces=tuple(pieces),
        n_pieces=n_pieces,
        fingerprint=fingerprint_of_pieces(pieces, n_pieces, comm),
    )


def part_fingerprint(part: PolyhedralPart) -> str:
    """Hash of one piece's points and faces (hex, 16 bytes)."""
    digest = hashlib.sha256(b"polyhedra")
    for array, kind in zip(part, ("<f8", "<i8", "<i8", "<i8", "<i8"), strict=True):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        digest.update(str(np.shape(array)).encode())
    return digest.hexdigest()[:32]


def checked_cells(part: PolyhedralPart, name: str) -> int:
    """Number of a piece's cells.

    Parameters
    ----------
    part : PolyhedralPart
    name : of the piece, for the message

    Raises
    ------
    MeshError
        if faces name nodes or cells that cannot be, or a cell has fewer than four faces
    """
    points, offsets, nodes, owner, neighbour = (np.asarray(array) for array in part)
    n_faces = len(owner)
    if points.ndim != 2 or points.shape[1:] != (3,):
        raise MeshError(f"{name}: points of shape {points.shape}, expected (N, 3)")
    if len(offsets) != n_faces + 1 or len(neighbour) != n_faces:
        raise MeshError(f"{name}: {len(offsets) - 1} faces, {n_faces} owners and {len(neighbour)} neighbours")
    if offsets[0] != 0 or offsets[-1] != len(nodes) or (np.diff(offsets) < 3).any():
        raise MeshError(f"{name}: its faces are not lists of three or more of {len(nodes)} nodes, one after another")
    if len(nodes) and (nodes.min() < 0 or nodes.max() >= len(points)):
        raise MeshError(f"{name}: faces name nodes {nodes.min()} … {nodes.max()}, it has {len(points)}")
    if n_faces and (owner.min() < 0 or neighbour.min() < -1 or (owner == neighbour).any()):
        raise MeshError(f"{name}: a face has a negative owner, a neighbour below −1, or one cell on both sides")
    n_cells = 1 + int(max(owner.max(initial=-1), neighbour.max(initial=-1)))
    # before anything is made of that size: a single large number is a damaged file
    if 4 * n_cells > 2 * n_faces:
        raise MeshError(f"{name}: {n_faces} faces cannot bound {n_cells} cells of four or more faces")
    count = np.bincount(owner, minlength=n_cells) + np.bincount(neighbour[neighbour >= 0], minlength=n_cells)
    if n_cells and count.min() < 4:
        raise MeshError(f"{name}: cell {int(count.argmin())} has {count.min()} faces, expected four or more")
    return n_cells


def runs(start: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(sum of counts,) the numbers start, start + 1, … of each run, one run after another."""
    return np.arange(count.sum()) + np.repeat(start - np.cumsum(count) + count, count)


def _sums(values, start):
    """Sums of runs of rows; each run has a row or more."""
    return np.add.reduceat(values, start, axis=0) if len(start) else np.zeros((0, *values.shape[1:]))
