"""The lumped mass of a mesh: what integrals of nodal fields are sums with.

Each node of a tetrahedron has a quarter of its volume; the integral of a P1 field is Σ m_i x_i, exactly. Nodes of a
P1DG field have the quarter of their own cell, values of cells (P0) its whole volume.
"""

import numpy as np
from mpi4py import MPI

from coupling.geometry.interpolation import multiply
from coupling.geometry.mesh import Mesh
from coupling.geometry.points import MeshPoints, mesh_points


def lumped_mass(mesh: Mesh, location: str, comm: MPI.Comm, points: MeshPoints | None = None) -> np.ndarray:
    """Mass of a field's values, each counted once over all ranks. Collective.

    Parameters
    ----------
    mesh : Mesh
    location : "point" or "cell"
    comm : MPI communicator
    points : MeshPoints of the mesh where they are known already

    Returns
    -------
    (N,) or (E,) float64 [m³], zero at copies of nodes and cells that are counted elsewhere: of a node in several pieces
    one has the whole mass

    Raises
    ------
    MeshError
        if copies of nodes cannot be told from their neighbours, as `coupling.geometry.points.mesh_points`
    """
    own = np.where(mesh.ghost, 0.0, mesh.volumes)
    if location == "cell":
        return own
    of_cells = np.bincount(mesh.cells.ravel(), np.repeat(own / 4, 4), minlength=mesh.n_nodes)
    between = (points or mesh_points(mesh, comm)).between
    # first added up over the copies, then given to the one that is picked
    return multiply(between.to_grid, multiply(between.to_mesh, of_cells, transpose=True), transpose=True)
