"""Which cell of finite elements holds a point, and with which weights of its nodes.

The search is reversed: no point looks for its cell, but each cell tests the points in its bounding
box, which for a regular grid are known without a search. All cells are tested at once, as array
operations. (VTK's probe filter is as fast but accepts points a few centimetres outside a cell, so
linear fields would not be exact.) Only the cells that a piece owns are tested, and where cells
touch, the one with the lowest number counts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coupling.geometry.grid import Grid
from coupling.geometry.shapes import TETRAHEDRON, Shape

_OUTSIDE = 1e-9  # how far outside a point may be, in parts of a cell: rounding, not geometry
BATCH = 1 << 20  # candidates of cell and point tested at once, to bound the memory

Candidates = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Located:
    """Points and the cells of a piece that hold them.

    point : (k,) numbers of the points that lie in the piece, rising
    cell : (k,) the piece's cell that holds each, numbered with ghosts
    weights : (k, n) weights of the cell's nodes, their sum one; of linear cells none is negative
    """

    point: np.ndarray
    cell: np.ndarray
    weights: np.ndarray


def locate_grid(
    points: np.ndarray, cells: np.ndarray, ghost: np.ndarray, grid: Grid, shape: Shape = TETRAHEDRON
) -> Located:
    """Find the points of a grid in a piece of a mesh.

    Parameters
    ----------
    points, cells, ghost : the piece, as in :class:`~coupling.geometry.mesh.Mesh`
    grid : Grid
    shape : of the cells

    Returns
    -------
    Located, `point` in the grid's numbering
    """
    own = np.flatnonzero(~ghost)
    corners = points[cells[own]]
    return _search(corners, own, shape, *grid_candidates(corners.min(axis=1), corners.max(axis=1), grid))


def locate_points(
    points: np.ndarray, cells: np.ndarray, ghost: np.ndarray, places: np.ndarray, shape: Shape = TETRAHEDRON
) -> Located:
    """Find scattered places in a piece of a mesh.

    Parameters
    ----------
    points, cells, ghost : the piece, as in :class:`~coupling.geometry.mesh.Mesh`
    places : (k, 3) [m]
    shape : of the cells

    Returns
    -------
    Located, `point` numbering `places`
    """
    places = np.asarray(places, dtype=np.float64).reshape(-1, 3)
    own = np.flatnonzero(~ghost)
    corners = points[cells[own]]
    if len(places) == 0 or len(own) == 0:
        return Located(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, shape.n_nodes)))
    return _search(corners, own, shape, *place_candidates(corners.min(axis=1), corners.max(axis=1), places))


def grid_candidates(low: np.ndarray, high: np.ndarray, grid: Grid) -> tuple[np.ndarray, Candidates]:
    """Points of a grid in boxes about cells.

    Parameters
    ----------
    low, high : (E, 3) corners of the boxes [m]
    grid : Grid

    Returns
    -------
    work : (E,) about how many there are in each
    candidates : from (k,) boxes to their points: which of the k it is, the point's number, its place
    """
    first, count = _box_of_bins(low, high, np.array(grid.origin), np.array(grid.spacing), grid.shape, points_only=True)

    def candidates(run):
        cell, number = _bins_in_boxes(first[run], count[run], grid.shape)
        return cell, number, grid.coordinates(number)

    return count.prod(axis=1), candidates


def place_candidates(box_low: np.ndarray, box_high: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, Candidates]:
    """As `grid_candidates`, of (k, 3) scattered places [m], one or more."""
    # the places are sorted into a few bins per direction; a cell looks into the bins it touches
    shape = (int(np.clip(len(places) ** (1 / 3), 1, 100)),) * 3
    low, high = places.min(axis=0), places.max(axis=0)
    width = np.maximum((high - low) / shape, 1e-9 * (1.0 + np.abs(high)))
    bins = np.ravel_multi_index(np.minimum(((places - low) / width).astype(int), shape[0] - 1).T, shape)
    by_bin = np.argsort(bins, kind="stable")
    start = np.searchsorted(bins[by_bin], np.arange(np.prod(shape) + 1))
    first, count = _box_of_bins(box_low, box_high, low, width, shape, points_only=False)

    def candidates(run):
        cell, number = _bins_in_boxes(first[run], count[run], shape)
        which, inside = _repeat(start[number + 1] - start[number])
        chosen = by_bin[start[number[which]] + inside]
        return cell[which], chosen, places[chosen]

    density = len(places) / np.prod(shape)
    return count.prod(axis=1) * max(density, 1.0), candidates


def _box_of_bins(box_low, box_high, origin, width, shape, points_only):
    """For each cell the first bin of its bounding box and the number of bins in each direction.

    With `points_only` a bin is a single point at its lower corner, as in a grid.
    """
    low = (box_low - origin) / width
    high = (box_high - origin) / width
    first = np.ceil(low - 1e-6) if points_only else np.floor(low - 1e-6)
    last = np.floor(high + 1e-6)
    first = np.clip(first, 0, None).astype(np.int64)
    last = np.minimum(last, np.array(shape) - 1).astype(np.int64)
    return first, np.maximum(last - first + 1, 0)


def _repeat(counts):
    """(owner, k): for each owner the numbers 0 … counts[owner] − 1, one after another."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _bins_in_boxes(first, count, shape):
    cell, k = _repeat(count.prod(axis=1))
    n = count[cell]
    index = np.stack([k // (n[:, 1] * n[:, 2]), k // n[:, 2] % n[:, 1], k % n[:, 2]]) + first[cell].T
    return cell, np.ravel_multi_index(tuple(index), shape)


def _search(nodes, numbers, shape, work, candidates):
    """Test candidates in batches of cells; keep for each point the first cell that holds it."""
    locate, flat = shape.locator(nodes)  # a cell without volume holds nothing
    batch = np.cumsum(np.where(flat, 0, work)) // (BATCH * TETRAHEDRON.n_nodes // shape.n_nodes)
    none = np.empty(0, np.int64)
    hits = [(none, none, locate(none, np.empty((0, 3))))]
    for number in np.unique(batch):
        run = np.flatnonzero((batch == number) & ~flat)
        cell, point, places = candidates(run)
        cell = run[cell]
        local = locate(cell, places)
        inside = shape.margins(local) >= -_OUTSIDE
        hits.append((point[inside], cell[inside], local[inside]))
    point, cell, local = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    order = np.lexsort((cell, point))
    point, first = np.unique(point[order], return_index=True)
    chosen = order[first]
    return Located(point, numbers[cell[chosen]], shape.weights(local[chosen]))
