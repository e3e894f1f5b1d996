"""The lumped mass of a mesh: weights that turn integrals of nodal fields into sums.

A node's mass in a cell is the integral of its function, a quarter of a tetrahedron's volume; the integral of a P1 field
is Σ m_i x_i, exactly. Nodes of a P1DG field have their part of their own cell, values of cells (P0) all of its volume.
In two dimensions masses are areas.
"""

import numpy as np
from mpi4py import MPI

from coupling.geometry.interpolation import multiply
from coupling.geometry.mesh import AnyMesh, MeshError, PolyhedralMesh
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
        if cells are quadratic, or copies of nodes cannot be distinguished from neighbours, see
        `coupling.geometry.points.mesh_points`
    """
    own = np.where(mesh.ghost, 0.0, mesh.volumes)
    if location == "cell" or isinstance(mesh, PolyhedralMesh):
        return own
    if mesh.shape.degree > 1:
        raise MeshError(
            f"a field on {mesh.shape.name} has nodes without a positive mass: gates cannot be used for it; leave them "
            "out, or have the model solve for it on linear cells"
        )
    masses = np.where(mesh.ghost[:, None], 0.0, mesh.shape.masses(mesh.points[mesh.cells]))
    of_cells = np.bincount(mesh.cells.ravel(), masses.ravel(), minlength=mesh.n_nodes)
    between = (points or mesh_points(mesh, comm)).between
    # first summed over the copies, then given to the one that P picks
    return multiply(between.to_grid, multiply(between.to_mesh, of_cells, transpose=True), transpose=True)
