"""The lumped mass of a mesh: weights that turn integrals of nodal fields into sums.

A node's mass in a cell is the integral of its function, a quarter of a tetrahedron's volume; the integral of a P1 field
is Σ m_i x_i, exactly. Nodes of a P1DG field have their part of their own cell, values of cells (P0) all of its volume.
In two dimensions masses are areas.

Of P2 some nodes' integrals are zero or less. Masses are then those of :meth:`coupling.geometry.shapes.Simplex.lumped`,
which are positive, and the integral of a field is Σ m_i r_i x_i with the ratios of `integral_by_mass`.
"""

import numpy as np
from mpi4py import MPI

from coupling.geometry.interpolation import multiply
from coupling.geometry.mesh import AnyMesh, PolyhedralMesh
from coupling.geometry.points import MeshPoints, mesh_points


def lumped_mass(mesh: AnyMesh, location: str, comm: MPI.Comm, points: MeshPoints | None = None) -> np.ndarray:
    """Mass of a field's values, each counted once over all ranks. Collective.

    Parameters
    ----------
    mesh : AnyMesh
    location : "point" or "cell"
    comm : MPI communicator
    points : MeshPoints of the mesh if already at hand

    Returns
    -------
    (N,) or (E,) float64 [m³], zero at copies of nodes and cells that are counted elsewhere: of the copies of a node in
    several pieces one has all of the mass

    Raises
    ------
    MeshError
        if copies of nodes cannot be distinguished from neighbours, see `coupling.geometry.points.mesh_points`
    """
    own = np.where(mesh.ghost, 0.0, mesh.volumes)
    if location == "cell" or isinstance(mesh, PolyhedralMesh):
        return own
    masses = np.where(mesh.ghost[:, None], 0.0, mesh.shape.lumped(mesh.points[mesh.cells]))
    of_cells = np.bincount(mesh.cells.ravel(), masses.ravel(), minlength=mesh.n_nodes)
    between = (points or mesh_points(mesh, comm)).between
    # first summed over the copies, then given to the one that P picks
    return multiply(between.to_grid, multiply(between.to_mesh, of_cells, transpose=True), transpose=True)


def integral_by_mass(mesh: AnyMesh, location: str) -> np.ndarray:
    """(N,) or (E,) integrals of the values' functions by their lumped masses.

    They are 1, and of P2 one number for all corners, negative or 0, and one for all middles of edges; at copies, too.
    """
    if location == "cell" or isinstance(mesh, PolyhedralMesh):
        return np.ones(mesh.n_cells)
    ratio, shape = np.ones(mesh.n_nodes), mesh.shape
    if shape.degree > 1 and mesh.n_cells:
        one = mesh.points[mesh.cells[:1]]
        of_nodes = (shape.masses(one) / shape.lumped(one))[0]
        ratio[mesh.cells] = of_nodes
    return ratio
