"""A box of tetrahedra whose six sides are surfaces 1 … 6: x low, x high, y low, …"""

import numpy as np
from mpi4py import MPI
from skfem import MeshTet

from coupling.fluidity.boundary import Boundary
from coupling.geometry.mesh import join_pieces


def box_mesh(n, size=(1.0, 1.0, 1.0), shake=0.2, seed=0):
    """(Mesh, Boundary) of a box cut n[d] times along each side, its inner nodes shaken by a part of a cell."""
    cut = MeshTet.init_tensor(*(np.linspace(0, 1, k + 1) for k in n))
    points = cut.p.T.copy()
    inside = ((points > 1e-9) & (points < 1 - 1e-9)).all(axis=1)
    points[inside] += shake / max(n) * np.random.default_rng(seed).uniform(-1, 1, (inside.sum(), 3))
    facets = cut.facets[:, cut.boundary_facets()].T.astype(np.int64)
    ids = np.zeros(len(facets), np.int64)
    for d in range(3):
        for side in (0, 1):
            ids[(np.abs(points[facets, d] - side) < 1e-9).all(axis=1)] = 1 + 2 * d + side
    points = points * np.array(size)
    cells = cut.t.T.astype(np.int64)
    mesh = join_pieces([(0, points, cells, np.zeros(len(cells), bool))], 1, MPI.COMM_SELF)
    return mesh, Boundary(points, facets, ids)
