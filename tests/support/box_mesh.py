"""A box of tetrahedra whose six sides are surfaces 1 … 6: x low, x high, y low, …"""

import numpy as np
from mpi4py import MPI
from skfem import MeshTet, MeshTri

from coupling.embedded.fem import make_space
from coupling.fluidity.boundary import Boundary
from coupling.fluidity.halo import serial_halo
from coupling.geometry.mesh import join_pieces
from coupling.geometry.shapes import TRIANGLE


def cut_box(n, size=(1.0, 1.0, 1.0), shake=0.0, seed=0):
    """Tetrahedra of a box cut n[d] times along each side.

    Parameters
    ----------
    n : numbers of cuts
    size : m
    shake : by how much of a cell the inner nodes are moved at random

    Returns
    -------
    points (N, 3), cells (E, 4), facets (F, 3), and their surface ids (F,)
    """
    mesh = MeshTet.init_tensor(*(np.linspace(0, 1, k + 1) for k in n))
    points = mesh.p.T.copy()
    inside = ((points > 1e-9) & (points < 1 - 1e-9)).all(axis=1)
    points[inside] += shake / max(n) * np.random.default_rng(seed).uniform(-1, 1, (inside.sum(), 3))
    facets = mesh.facets[:, mesh.boundary_facets()].T.astype(np.int64)
    ids = np.zeros(len(facets), np.int64)
    for d in range(3):
        for side in (0, 1):
            ids[(np.abs(points[facets, d] - side) < 1e-9).all(axis=1)] = 1 + 2 * d + side
    return points * np.array(size), mesh.t.T.astype(np.int64), facets, ids


def box_mesh(n, size=(1.0, 1.0, 1.0), shake=0.2, seed=0):
    """(Mesh, Boundary) of a box, see `cut_box`."""
    points, cells, facets, ids = cut_box(n, size, shake, seed)
    mesh = join_pieces([(0, points, cells, np.zeros(len(cells), bool))], 1, MPI.COMM_SELF)
    return mesh, Boundary(points, facets, ids)


def flat_box_mesh(n, size=(1.0, 1.0), shake=0.2, seed=0):
    """(Mesh, Boundary) of triangles in a rectangle, whose four sides are surfaces 1 … 4: x low, x high, y low, …"""
    mesh = MeshTri.init_tensor(*(np.linspace(0, 1, k + 1) for k in n))
    points = np.pad(mesh.p.T, ((0, 0), (0, 1)))
    inside = ((points[:, :2] > 1e-9) & (points[:, :2] < 1 - 1e-9)).all(axis=1)
    points[inside, :2] += shake / max(n) * np.random.default_rng(seed).uniform(-1, 1, (inside.sum(), 2))
    facets = mesh.facets[:, mesh.boundary_facets()].T.astype(np.int64)
    ids = np.zeros(len(facets), np.int64)
    for d in range(2):
        for side in (0, 1):
            ids[(np.abs(points[facets, d] - side) < 1e-9).all(axis=1)] = 1 + 2 * d + side
    points *= np.array([*size, 1.0])
    cells = mesh.t.T.astype(np.int64)
    part = [(0, points, cells, np.zeros(len(cells), bool))]
    return join_pieces(part, 1, MPI.COMM_SELF, TRIANGLE), Boundary(points, facets, ids)


def box_space(n, size=(1.0, 1.0, 1.0), shake=0.0, seed=0):
    """(finite elements, facets, their surface ids) of a box, see `cut_box`."""
    points, cells, facets, ids = cut_box(n, size, shake, seed)
    return make_space(points, cells, serial_halo(len(points)), MPI.COMM_SELF), facets, ids
