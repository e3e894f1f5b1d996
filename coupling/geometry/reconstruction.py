"""P that follows the slopes of fields in cells of polyhedra, instead of taking a cell's value for all of it.

A cell's gradient g is the least-squares one over the cells on the other side of its faces: it minimises
Σ_k ((x_k − x_c − g · d_k) / |d_k|)², d_k between the centres (Barth 1991, https://doi.org/10.2514/6.1991-1548). Linear
fields are exact, and P may go beyond the largest value and below the lowest. In a direction in which a cell has no
neighbour, as across a passage of one cell, it has no slope. A wall has no cell on its other side, so that nothing is
seen through it; but two walls at one place where a mesh is also cut into pieces look like the cut.
"""

from pathlib import Path

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse import csr_matrix

from coupling.geometry.grid import Grid
from coupling.geometry.interpolation import fluid_points, multiply, numbering, sparse_rows
from coupling.geometry.polyhedra import PolyhedralMesh

_UNSEEN = 1e-3  # of the weight of the direction seen best: one below it has no slope
# odd and large, so that a place's bits spread: any would do
_FACTORS = np.array(
    [
        [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9],
        [0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63, 0xFF51AFD7ED558CCD],
    ],
    np.uint64,
)


def following_slopes(
    to_grid: PETSc.Mat, mesh: PolyhedralMesh, grid: Grid, comm: MPI.Comm, cache: str | Path | None = None
) -> PETSc.Mat:
    """P with the cells' gradients: x_c + g_c · (place − centre). Collective.

    Points in no cell keep the value of the nearest.

    Parameters
    ----------
    to_grid : PETSc AIJ (grid points × cells), P of `coupling.geometry.interpolation`: a cell's value at each point
    mesh, grid : that it is between
    comm : MPI communicator
    cache : folder for located points, or None
    """
    rows = grid.rows(comm)
    within = fluid_points(grid, mesh, comm, cache)[rows.start : rows.stop]
    away = np.where(within[:, None], grid.coordinates(rows) - multiply(to_grid, mesh.centroids), 0.0)
    result = to_grid.copy()
    along = to_grid.createVecLeft()
    for axis, gradient in enumerate(gradients(mesh, comm)):
        part = to_grid.matMult(gradient)
        along.array[:] = away[:, axis]
        part.diagonalScale(L=along)
        result.axpy(1.0, part, structure=PETSc.Mat.Structure.DIFFERENT_NONZERO_PATTERN)
    return result


def gradients(mesh: PolyhedralMesh, comm: MPI.Comm) -> tuple[PETSc.Mat, ...]:
    """PETSc AIJ (cells × cells) of the derivatives in x, y and z [1/m]. Collective."""
    offset, n = numbering(mesh, "cell", comm)
    cell, number, place = _neighbours(mesh, offset, comm)
    away = place - mesh.centroids[cell]
    distance = np.linalg.norm(away, axis=1)
    unit = away / distance[:, None]
    squares = np.zeros((n, 3, 3))
    np.add.at(squares, cell, unit[:, :, None] * unit[:, None, :])
    weight = np.einsum("kij,kj->ki", _inverses(squares)[cell], unit) / distance[:, None]
    n_all = comm.allreduce(n)
    entries = np.concatenate([cell, cell]), np.concatenate([number, cell + offset])
    matrices = []
    for axis in range(3):
        values = np.concatenate([weight[:, axis], -weight[:, axis]])
        of = csr_matrix((values, entries), (n, n_all))
        row = np.repeat(np.arange(n), np.diff(of.indptr))
        matrices.append(sparse_rows(n, n, row, of.indices, of.data, comm))
    return tuple(matrices)


def _inverses(squares):
    """(n, 3, 3) inverses of symmetric matrices, zero in directions of little weight."""
    size, direction = np.linalg.eigh(squares)
    seen = size > _UNSEEN * np.maximum(size[:, -1:], np.finfo(float).tiny)
    return np.einsum("nij,nj,nkj->nik", direction, np.where(seen, 1.0 / np.where(seen, size, 1.0), 0.0), direction)


def _neighbours(mesh, offset, comm):
    """Pairs of cells with a face in common: this rank's cell, the other's number over all ranks, and its centre [m]."""
    inner = np.flatnonzero(mesh.neighbour >= 0)
    one, other = mesh.owner[inner], mesh.neighbour[inner]
    cell, number = np.concatenate([one, other]), np.concatenate([other, one]) + offset
    place = mesh.centroids[number - offset]
    if mesh.n_pieces > 1:
        across = _across_seams(mesh, offset, comm)
        cell, number, place = (np.concatenate(both) for both in zip((cell, number, place), across, strict=True))
    return cell, number, place


def _across_seams(mesh, offset, comm):
    """As `_neighbours`, of pairs in different pieces: their faces have the same nodes, in whatever order."""
    outer = np.flatnonzero(mesh.neighbour < 0)
    keys = _keys(mesh)[outer]
    cell = mesh.owner[outer]
    starts = np.array([piece.cells.start for piece in mesh.pieces])
    index = np.array([piece.index for piece in mesh.pieces])
    piece = index[np.searchsorted(starts, cell, side="right") - 1] if len(cell) else np.empty(0, np.int64)
    # the rank that matches a face follows from its key, so that no rank has all of them
    desk = keys[:, 0] % np.uint64(comm.size)
    chosen = [np.flatnonzero(desk == rank) for rank in range(comm.size)]
    received = comm.alltoall([(keys[c], piece[c], cell[c] + offset, mesh.centroids[cell[c]]) for c in chosen])
    keys, piece, number, place = (np.concatenate(part) for part in zip(*received, strict=True))
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    first, second = order[:-1], order[1:]
    same = (keys[first] == keys[second]).all(axis=1) & (piece[first] != piece[second])
    partner = np.full(len(keys), -1)
    partner[first[same]], partner[second[same]] = second[same], first[same]
    ends = np.cumsum([len(part[0]) for part in received])[:-1]
    answers = comm.alltoall(
        [(p >= 0, number[p], place[p]) for p in np.split(partner, ends)]  # rows of −1 are dropped on arrival
    )
    found = [of[0] for of in answers]
    cells = np.concatenate([cell[c][f] for c, f in zip(chosen, found, strict=True)])
    return cells, *(np.concatenate([of[k][of[0]] for of in answers]) for k in (1, 2))


def _keys(mesh):
    """(F, 2) uint64 that follow from the places of a face's nodes, in whatever order."""
    bits = (mesh.points + 0.0).view(np.uint64)  # no −0.0, which has other bits
    with np.errstate(over="ignore"):
        keys = np.stack([(bits * factors).sum(axis=1) for factors in _FACTORS], axis=1)
        keys = (keys ^ (keys >> np.uint64(29))) * _FACTORS[1, 2]  # or sums of places would be equal where faces are not
        return np.add.reduceat(keys[mesh.face_nodes], mesh.face_offsets[:-1], axis=0)
