"""Meshes of polyhedra for tests: OpenFOAM's small case, and lattices whose cells are put together at will."""

import re

import numpy as np
from mpi4py import MPI
from places import ROOT

from coupling.geometry.mesh import Field, State
from coupling.geometry.pieces import share_of_pieces
from coupling.geometry.polyhedra import PolyhedralMesh, PolyhedralPart, join_polyhedra

OPENFOAM = ROOT / "tests/data/openfoam"


def numbers_of(path, kind=np.int64):
    """All numbers of an ascii list of OpenFOAM, without its length."""
    text = path.read_text().split("// * *", 1)[1].split("\n", 1)[1]
    values = np.array(re.findall(r"[-+.\deE]+", text.split("// ****")[0]), kind)
    return values[1:]


def foam_part(folder):
    """The piece in a folder constant/polyMesh whose files are ascii."""
    entries = numbers_of(folder / "faces")
    offsets, nodes, at = [0], [], 0
    while at < len(entries):
        nodes.append(entries[at + 1 : at + 1 + entries[at]])
        offsets.append(offsets[-1] + entries[at])
        at += 1 + entries[at]
    owner, inner = numbers_of(folder / "owner"), numbers_of(folder / "neighbour")
    neighbour = np.full(len(owner), -1)
    neighbour[: len(inner)] = inner
    points = numbers_of(folder / "points", float).reshape(-1, 3)
    return PolyhedralPart(points, np.array(offsets), np.concatenate(nodes), owner, neighbour)


def small_mesh():
    """The mesh of OpenFOAM's small case, four buildings in 120 × 120 × 60 m, in one piece."""
    return join_polyhedra([(0, foam_part(OPENFOAM / "small/constant/polyMesh"))], 1, MPI.COMM_SELF)


def lattice(cell, size=1.0, shake=0.0, seed=0):
    """A part whose cells are sets of the boxes of a lattice.

    cell : (nx, ny, nz) number of each box's cell, −1 where there is none
    size : m of a box, or three
    shake : by how much of a box the inner nodes are moved at random, which warps the faces
    """
    shape = np.array(cell.shape)
    padded = np.pad(cell, 1, constant_values=-1)
    corner = np.stack(np.meshgrid(*(np.arange(n + 1) for n in shape), indexing="ij"), axis=-1)
    inner = ((corner > 0) & (corner < shape)).all(axis=-1)
    points = corner + shake * inner[..., None] * np.random.default_rng(seed).uniform(-1, 1, corner.shape)
    number = np.arange(points[..., 0].size).reshape(points.shape[:3])
    faces, owner, neighbour = [], [], []
    for d in range(3):
        b, c = (d + 1) % 3, (d + 2) % 3
        for index in np.ndindex(*(shape + np.eye(3, dtype=int)[d])):
            below, above = np.array(index) + 1, np.array(index) + 1
            below[d] -= 1
            low, high = padded[tuple(below)], padded[tuple(above)]
            if low == high:
                continue
            quad = [np.array(index) for _ in range(4)]
            quad[1][b] += 1
            quad[2][b] += 1
            quad[2][c] += 1
            quad[3][c] += 1
            nodes = [number[tuple(q)] for q in quad]  # counter-clockwise as seen from above
            outwards = high < 0 or 0 <= low < high
            faces.append(nodes if outwards else nodes[::-1])
            owner.append(low if outwards else high)
            neighbour.append(high if outwards else low)
    order = np.lexsort((neighbour, owner, np.array(neighbour) < 0))
    used, nodes = np.unique(np.array(faces)[order], return_inverse=True)
    return PolyhedralPart(
        points.reshape(-1, 3)[used] * size,
        np.arange(0, 4 * len(faces) + 1, 4),
        nodes.ravel(),
        np.array(owner)[order],
        np.array(neighbour)[order],
    )


def street_cells(shape=(8, 6, 5)):
    """Numbers of cells for `lattice`: boxes about a building, some of them joined to eights and one to an L."""
    cell = np.arange(np.prod(shape)).reshape(shape)
    for x in range(0, 2):
        for y in range(0, shape[1] // 2):
            cell[2 * x : 2 * x + 2, 2 * y : 2 * y + 2, -2:] = cell[2 * x, 2 * y, -1]
    cell[-1, -1, :2] = cell[-2, -1, 0] = cell[-1, -1, 0]
    cell[3:5, 2:4, :3] = -1
    kept = np.unique(cell[cell >= 0])
    return np.where(cell < 0, -1, np.searchsorted(kept, cell))


def cut(part, piece):
    """The parts of a mesh cut into pieces, as a decomposition has them.

    piece : (E,) number of each cell's piece

    Returns
    -------
    list of PolyhedralPart, and (E,) each cell's number within its piece
    """
    within, parts = np.empty(len(piece), np.int64), []
    for number in range(piece.max() + 1):
        mine = np.flatnonzero(piece == number)
        within[mine] = np.arange(len(mine))
        other = np.where(part.neighbour >= 0, piece[part.neighbour], -1)
        owned, seen = piece[part.owner] == number, other == number
        faces, owner, neighbour = [], [], []
        for face in np.flatnonzero(owned | seen):
            nodes = part.face_nodes[part.face_offsets[face] : part.face_offsets[face + 1]]
            faces.append(nodes if owned[face] else nodes[::-1])
            owner.append(part.owner[face] if owned[face] else part.neighbour[face])
            neighbour.append(part.neighbour[face] if owned[face] and seen[face] else -1)
        used, nodes = np.unique(np.concatenate(faces), return_inverse=True)
        neighbour = np.array(neighbour)
        parts.append(
            PolyhedralPart(
                part.points[used],
                np.append(0, np.cumsum([len(f) for f in faces])),
                nodes.ravel(),
                within[np.array(owner)],
                np.where(neighbour < 0, -1, within[neighbour]),
            )
        )
    return parts, within


def street_mesh(shake=0.0, size=(10.0, 10.0, 8.0)) -> PolyhedralMesh:
    """One piece of `street_cells`."""
    return join_polyhedra([(0, lattice(street_cells(), size, shake))], 1, MPI.COMM_SELF)


def street_in_pieces(comm, n=5, size=(10.0, 10.0, 8.0), shake=0.2) -> PolyhedralMesh:
    """`street_cells` in n pieces, shared among ranks; the faces are warped."""
    whole = lattice(street_cells(), size, shake)
    n_cells = 1 + whole.owner.max()
    parts, _ = cut(whole, np.arange(n_cells) * n // n_cells)
    return join_polyhedra([(k, parts[k]) for k in share_of_pieces(n, comm)], n, comm)


def street_states(comm, n=3, pieces=5):
    """States of T and U in cells of `street_in_pieces`."""
    mesh = street_in_pieces(comm, pieces)
    for k in range(n):
        wave = np.sin(mesh.centroids / 20.0 + k)
        fields = {"T": Field("T", mesh, wave.sum(axis=1), "cell"), "U": Field("U", mesh, wave, "cell")}
        yield State(float(k), fields)


def whole_and_in_pieces(shake):
    """A street's mesh, the same cut into three pieces at random, and (E,) where each cell is in these."""
    whole = lattice(street_cells(), 10.0, shake)
    mesh = join_polyhedra([(0, whole)], 1, MPI.COMM_SELF)
    piece = np.random.default_rng(5).integers(0, 3, mesh.n_cells)
    parts, within = cut(whole, piece)
    pieces = join_polyhedra(list(enumerate(parts)), 3, MPI.COMM_SELF)
    return mesh, pieces, np.array([p.cells.start for p in pieces.pieces])[piece] + within
