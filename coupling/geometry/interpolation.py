"""Between mesh and grid: P (mesh → grid), Q (grid → mesh), and values at sensors.

P interpolates within the mesh's cells at the fluid grid points: linear fields are exact. Of values in cells it takes
that of the cell that holds the point. Q is trilinear over the fluid corners of the grid cell around a node or a cell's
centre; where corners are solid, the weights of the others are scaled to sum to one, so that a constant stays constant.
Three kinds of node are special:

- all eight corners solid: the node takes the value of the nearest fluid point, the one with the
  lowest number if there are several;
- outside the grid's box by less than one spacing: the value at the box's face, falling linearly to
  zero over that spacing;
- further outside: zero. Q is applied to increments, so the background remains there.

Each matrix is a PETSc AIJ whose rows and columns lie where the state lies: grid points in contiguous
runs, mesh nodes with the piece they came from. What depends on geometry alone is cached on disk, one
small file per mesh piece, so that any number of ranks can use it.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from coupling.common.files import FileError, whole_file
from coupling.geometry.grid import Grid
from coupling.geometry.location import Located, locate_grid, locate_points
from coupling.geometry.mesh import AnyMesh, Mesh, MeshError, Piece, PolyhedralMesh
from coupling.geometry.polyhedra_location import locate_grid_in_polyhedra, locate_points_in_polyhedra, precedence

_ZIP_ERRORS = (BadZipFile, zlib.error)
_INT = PETSc.IntType


@dataclass(frozen=True)
class Interpolation:
    """P and Q between one mesh and one grid.

    to_grid : PETSc AIJ (grid points × mesh values), P
    to_mesh : PETSc AIJ (mesh values × grid points), Q
    """

    to_grid: PETSc.Mat
    to_mesh: PETSc.Mat


def multiply(matrix: PETSc.Mat, values: np.ndarray, transpose: bool = False) -> np.ndarray:
    """Apply a matrix to every component of a field. Collective.

    Parameters
    ----------
    matrix : PETSc AIJ
    values : (local columns,) or (local columns, k); rows instead of columns if `transpose`

    Returns
    -------
    (local rows,) or (local rows, k) float64
    """
    values = np.asarray(values, dtype=np.float64)
    right, left = matrix.createVecs()
    source, target = (left, right) if transpose else (right, left)
    result = np.empty((target.getLocalSize(), *values.shape[1:]))
    for index in np.ndindex(values.shape[1:]):
        component: tuple = (slice(None), *index)
        source.array[:] = values[component]
        (matrix.multTranspose if transpose else matrix.mult)(source, target)
        result[component] = target.array
    return result


def sparse_rows(
    n_local_rows: int, n_local_columns: int, row: np.ndarray, column: np.ndarray, weight: np.ndarray, comm: MPI.Comm
) -> PETSc.Mat:
    """Assemble an AIJ matrix from entries of this rank's own rows. Collective.

    row : (k,) local row numbers, sorted; column : (k,) global column numbers; weight : (k,)
    """
    start = np.searchsorted(row, np.arange(n_local_rows + 1)).astype(_INT)
    matrix = PETSc.Mat().createAIJ(
        size=((n_local_rows, None), (n_local_columns, None)),
        csr=(start, column.astype(_INT), weight.astype(np.float64)),
        comm=comm,
    )
    matrix.assemble()
    return matrix


def _located_in(mesh, piece, grid, cache):
    """`locate_grid` for one piece, from the cache if it is there."""
    keep = None if cache is None else Path(cache) / f"grid-in-mesh-{piece.fingerprint}-{grid.box_fingerprint}.npz"
    stored = _load(keep, ("point", "cell", "weights"))
    if stored is not None:
        return Located(**stored)
    if isinstance(mesh, PolyhedralMesh):
        located = locate_grid_in_polyhedra(mesh, piece, grid)
    else:
        located = locate_grid(*_piece_arrays(mesh, piece), grid, mesh.shape)
    _save(keep, {"point": located.point, "cell": located.cell, "weights": located.weights})
    return located


def _places_in(mesh, piece, places):
    if isinstance(mesh, PolyhedralMesh):
        return locate_points_in_polyhedra(mesh, piece, places)
    return locate_points(*_piece_arrays(mesh, piece), places, mesh.shape)


def _piece_arrays(mesh: Mesh, piece: Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return mesh.points[piece.nodes], mesh.cells[piece.cells] - piece.nodes.start, mesh.ghost[piece.cells]


def _load(path, names):
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    # what numpy and zipfile raise on damaged files; TypeError or AttributeError: a single array
    except (OSError, ValueError, LookupError, EOFError, AttributeError, TypeError, MemoryError, *_ZIP_ERRORS) as error:
        raise FileError(f"{path}: is damaged: {error}; remove it, it is made anew") from None


def _save(path, arrays):
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            np.savez(beside, **arrays)


def fluid_points(grid: Grid, mesh: AnyMesh, comm: MPI.Comm, cache: str | Path | None = None) -> np.ndarray:
    """Which grid points lie inside a mesh. Collective.

    Returns
    -------
    (n_points,) bool, the same on every rank
    """
    inside = np.zeros(grid.n_points, bool)
    for piece in mesh.pieces:
        inside[_located_in(mesh, piece, grid, cache).point] = True
    comm.Allreduce(MPI.IN_PLACE, inside, MPI.LOR)
    return inside


def interpolation(
    mesh: AnyMesh, location: str, grid: Grid, comm: MPI.Comm, cache: str | Path | None = None
) -> Interpolation:
    """Build P and Q. Collective.

    Parameters
    ----------
    mesh : AnyMesh
    location : "point" for values at nodes (P1, P1DG), "cell" for values of cells (P0)
    grid : Grid, its fluid points set
    comm : MPI communicator
    cache : folder for the located points; None for no cache

    Raises
    ------
    MeshError
        if a fluid grid point lies further outside the mesh than one grid spacing
    """
    entries = [_entries(mesh, location, p, _located_in(mesh, p, grid, cache)) for p in mesh.pieces]
    starts = np.array([grid.n_points * rank // comm.size for rank in range(comm.size + 1)])
    offset, n_values = numbering(mesh, location, comm)
    row, column, weight = _to_owner_of_row(entries, starts, offset, comm)
    rows = grid.rows(comm)
    row, column, weight = _fill_missing(row, column, weight, grid, mesh, location, offset, comm)
    fluid = grid.fluid_points[row]
    to_grid = sparse_rows(len(rows), n_values, row[fluid] - rows.start, column[fluid], weight[fluid], comm)

    index, share = _grid_corners(mesh, location, grid, cache)
    q = csr_matrix((share.ravel(), index.ravel(), np.arange(0, 8 * n_values + 1, 8)), (n_values, grid.n_points))
    q.sum_duplicates()
    q.eliminate_zeros()
    row = np.repeat(np.arange(n_values), np.diff(q.indptr))
    to_mesh = sparse_rows(n_values, len(rows), row, q.indices, q.data, comm)
    return Interpolation(to_grid, to_mesh)


def sampling(mesh: AnyMesh, location: str, places: np.ndarray, comm: MPI.Comm) -> tuple[PETSc.Mat, np.ndarray]:
    """The matrix that interpolates to scattered places, and which of these lie inside the mesh. Collective.

    Parameters
    ----------
    mesh : AnyMesh
    location : "point" or "cell"
    places : (M, 3) [m], the same on every rank

    Returns
    -------
    matrix : PETSc AIJ (M × mesh values), rows dealt evenly; a place outside has an empty row
    inside : (M,) bool, the same on every rank
    """
    places = np.asarray(places, dtype=np.float64).reshape(-1, 3)
    entries = [_entries(mesh, location, p, _places_in(mesh, p, places)) for p in mesh.pieces]
    starts = np.array([len(places) * rank // comm.size for rank in range(comm.size + 1)])
    offset, n_values = numbering(mesh, location, comm)
    row, column, weight = _to_owner_of_row(entries, starts, offset, comm)
    first, end = starts[comm.rank : comm.rank + 2]
    inside = np.zeros(len(places), bool)
    inside[row] = True
    comm.Allreduce(MPI.IN_PLACE, inside, MPI.LOR)
    return sparse_rows(end - first, n_values, row - first, column, weight, comm), inside


def numbering(mesh: AnyMesh, location: str, comm: MPI.Comm) -> tuple[int, int]:
    """(number of this rank's first value, number of its values)."""
    n = mesh.n_nodes if location == "point" else mesh.n_cells
    return comm.scan(n) - n, n  # type: ignore[attr-defined]  # ours are all intracommunicators


def _entries(mesh, location, piece, located):
    """Matrix entries of located points: (precedence (k,), row (k,), local columns (k, c), weights (k, c))."""
    cell = located.cell + piece.cells.start
    first = precedence(mesh, cell) if isinstance(mesh, PolyhedralMesh) else np.full(len(cell), float(piece.index))
    if location == "cell":
        return first, located.point, cell[:, None], np.ones((len(cell), 1))
    return first, located.point, mesh.cells[cell], located.weights


def _to_owner_of_row(entries, starts, offset, comm):
    """Send entries to the rank that holds their row; of several pieces the one with the lowest precedence counts.

    Returns (row, column, weight), each (k,), rows in global numbering, rising.
    """
    width = max(comm.allreduce(max((e[2].shape[1] for e in entries), default=0), MPI.MAX), 1)
    lowest = np.concatenate([np.empty(0), *[e[0] for e in entries]])
    row = np.concatenate([np.empty(0, np.int64), *[e[1] for e in entries]])
    column = np.concatenate([np.empty((0, width), np.int64), *[e[2] for e in entries]]) + offset
    weight = np.concatenate([np.empty((0, width)), *[e[3] for e in entries]])
    owner = np.searchsorted(starts, row, side="right") - 1
    parcels = []
    for rank in range(comm.size):
        for_rank = owner == rank
        parcels.append((lowest[for_rank], row[for_rank], column[for_rank], weight[for_rank]))
    lowest, row, column, weight = (np.concatenate(parts) for parts in zip(*comm.alltoall(parcels), strict=True))
    order = np.lexsort((lowest, row))
    row, first = np.unique(row[order], return_index=True)
    chosen = order[first]
    return np.repeat(row, width), column[chosen].ravel(), weight[chosen].ravel()


def _fill_missing(row, column, weight, grid, mesh, location, offset, comm):
    """Give fluid grid points that no cell of this mesh holds the value of the nearest node or cell's centre.

    A grid's fluid points come from one mesh; another mesh of the same place (after adaptation, say)
    may leave a few of them just outside. "Just" is a grid spacing from a node, or from the sphere about a cell.
    """
    rows = grid.rows(comm)
    wanted = np.flatnonzero(grid.fluid_points[rows.start : rows.stop]) + rows.start
    missing = np.setdiff1d(wanted, row)
    everyones = np.concatenate(comm.allgather(missing))
    if len(everyones) == 0:
        return row, column, weight
    own_values = mesh.points if location == "point" else mesh.centroids
    distance, nearest = np.full(len(everyones), np.inf), np.zeros(len(everyones), np.int64)
    if len(own_values):
        distance, nearest = cKDTree(own_values).query(grid.coordinates(everyones))
    closest = np.empty_like(distance)
    comm.Allreduce(distance, closest, MPI.MIN)
    number = np.where(distance == closest, nearest + offset, np.iinfo(np.int64).max)
    comm.Allreduce(MPI.IN_PLACE, number, MPI.MIN)
    reach = np.zeros(len(everyones))
    if location == "cell" and len(own_values):
        reach = np.where(nearest + offset == number, mesh.cell_reach[nearest], 0.0)
    comm.Allreduce(MPI.IN_PLACE, reach, MPI.MAX)
    outside = closest - reach
    if (outside > np.linalg.norm(grid.spacing)).any():
        worst = int(np.argmax(outside))
        place = grid.coordinates(everyones[worst]).tolist()
        raise MeshError(
            f"grid point {place} m counts as fluid but lies {outside[worst]:.3g} m"
            " outside the mesh; were grid and mesh made for the same place?"
        )
    own = np.isin(everyones, missing)
    row = np.concatenate([row, everyones[own]])
    order = np.argsort(row, kind="stable")
    column = np.concatenate([column, number[own]])
    weight = np.concatenate([weight, np.ones(own.sum())])
    return row[order], column[order], weight[order]


def _grid_corners(mesh, location, grid, cache):
    """Grid points and weights of every value on this rank: (N, 8) int, (N, 8)."""
    indices, shares = [np.empty((0, 8), np.int64)], [np.empty((0, 8))]
    for piece in mesh.pieces:
        name = f"{location}-in-grid-{piece.fingerprint}-{grid.fingerprint}.npz"
        keep = None if cache is None else Path(cache) / name
        stored = _load(keep, ("index", "share"))
        if stored is None:
            places = mesh.points[piece.nodes] if location == "point" else mesh.centroids[piece.cells]
            index, share = trilinear(grid, places)
            stored = {"index": index, "share": share}
            _save(keep, stored)
        indices.append(stored["index"])
        shares.append(stored["share"])
    return np.concatenate(indices), np.concatenate(shares)


def trilinear(grid: Grid, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trilinear weights over fluid points; the module's docstring says what happens at walls and outside.

    On a plane they are bilinear; a point's share then stands once, and the other four are zero.

    Parameters
    ----------
    grid : Grid
    places : (N, 3) [m]

    Returns
    -------
    index : (N, 8) numbers of grid points
    share : (N, 8) weights, zero at solid points; they sum to one inside the box
    """
    shape = np.array(grid.shape)
    inside = (np.asarray(places, float) - grid.origin) / grid.spacing
    held = np.clip(inside, 0, shape - 1)
    fade = np.clip(1.0 - np.abs(inside - held), 0.0, 1.0).prod(axis=1)
    corner = np.clip(held.astype(np.int64), 0, np.maximum(shape - 2, 0))
    part = held - corner
    index = np.empty((len(held), 8), np.int64)
    share = np.empty((len(held), 8))
    for k, step in enumerate(np.ndindex(2, 2, 2)):
        index[:, k] = np.ravel_multi_index(tuple(np.minimum(corner + step, shape - 1).T), grid.shape)
        share[:, k] = np.where(step, part, 1.0 - part).prod(axis=1)
    share *= grid.fluid_points[index]
    total = share.sum(axis=1)
    walled = total < 1e-6  # a corner at a millionth of its weight is no neighbour but rounding
    share[~walled] /= total[~walled, None]
    if walled.any():
        fluid = np.flatnonzero(grid.fluid_points)
        if len(fluid) == 0:
            raise MeshError("the grid has no fluid point: its box and the mesh do not overlap")
        index[walled, 0] = fluid[_nearest(grid.coordinates(fluid), np.asarray(places)[walled])]
        share[walled] = [1.0] + 7 * [0.0]
    return index, share * fade[:, None]


def _nearest(points, places):
    """Number of the nearest point; of points equally near the first."""
    distance, near = cKDTree(points).query(places, k=min(8, len(points)))
    distance, near = distance.reshape(len(places), -1), near.reshape(len(places), -1)
    tied = distance <= distance[:, :1] * (1 + 1e-9)
    return np.where(tied, near, len(points)).min(axis=1)
