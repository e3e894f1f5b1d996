"""Small meshes of cells of every shape, for tests that are run on all of them."""

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import join_pieces, share_of_pieces
from coupling.geometry.shapes import SHAPES, Simplex

EVERY_SHAPE = [shape.name for shape in SHAPES.values()]
BOX = np.array([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0]])  # m; of flat meshes without the height


def shape_named(name):
    """A shape by its name."""
    return next(shape for shape in SHAPES.values() if shape.name == name)


def shaped_cells(name, n=(4, 3, 2), shake=0.2, seed=0):
    """(N, 3) points [m] and (E, n_nodes) cells of BOX cut n times, with the inner nodes shaken by parts of a cell."""
    shape = shape_named(name)
    d = shape.dimension
    counts = n[:d]
    lines = [np.linspace(0.0, 1.0, k + 1) for k in counts]
    points = np.zeros((int(np.prod([k + 1 for k in counts])), 3))
    points[:, :d] = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, d)
    inside = ((points[:, :d] > 1e-9) & (points[:, :d] < 1 - 1e-9)).all(axis=1)
    moves = np.random.default_rng(seed).uniform(-shake, shake, (int(inside.sum()), d))
    points[inside, :d] += moves / np.array(counts)
    points *= BOX[1]
    first = np.stack(np.meshgrid(*[np.arange(k) for k in counts], indexing="ij"), -1).reshape(-1, d)
    number = {c: np.ravel_multi_index(tuple((first + c).T), [k + 1 for k in counts]) for c in np.ndindex(*d * (2,))}
    around = [(0, 0), (1, 0), (1, 1), (0, 1)]
    corners = around if d == 2 else [(*c, z) for z in (0, 1) for c in around]
    bricks = np.column_stack([number[c] for c in corners])
    if not isinstance(shape, Simplex):
        return points, bricks
    split = [(0, 1, 2), (0, 2, 3)]
    if d == 3:  # Kuhn's six tetrahedra about a diagonal, which fit those of the neighbours
        split = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
    cells = np.concatenate([bricks[:, corner] for corner in split])
    if shape.degree == 1:
        return points, cells
    pairs = np.sort(np.concatenate([cells[:, edge] for edge in shape.edges]), axis=1)
    edges, which = np.unique(pairs, axis=0, return_inverse=True)
    middles = which.reshape(len(shape.edges), -1).T + len(points)
    return np.concatenate([points, points[edges].mean(axis=1)]), np.concatenate([cells, middles], axis=1)


def parted(points, cells, n_pieces):
    """[(points, cells, ghost)] of pieces: cells in turn, and of the cell before each as a copy."""
    parts = []
    for k in range(n_pieces):
        own = np.flatnonzero(np.arange(len(cells)) * n_pieces // len(cells) == k)
        with_copy = np.unique([*own, max(own[0] - 1, 0)])
        nodes, local = np.unique(cells[with_copy], return_inverse=True)
        parts.append((points[nodes], local.reshape(len(with_copy), -1), ~np.isin(with_copy, own)))
    return parts


def shaped_mesh(name, n_pieces=1, comm=MPI.COMM_SELF, **how):
    """A Mesh of BOX in pieces; each rank of the communicator has a run of them."""
    parts = parted(*shaped_cells(name, **how), n_pieces)
    mine = [(k, *parts[k]) for k in share_of_pieces(n_pieces, comm)]
    return join_pieces(mine, n_pieces, comm, shape_named(name) if mine else None)
