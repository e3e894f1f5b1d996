"""Where the analysis of a case lives: its grid over a mesh, or the mesh's own points."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid, make_grid
from coupling.geometry.interpolation import fluid_points
from coupling.geometry.mesh import AnyMesh, is_flat
from coupling.geometry.points import MeshPoints, mesh_points
from plugin.case.configuration import Case, ConfigurationError


def make_grid_of(case: Case, mesh: AnyMesh, comm: MPI.Comm, cache: Path | None) -> Grid | MeshPoints:
    """The case's grid over a mesh, solid points marked; or the mesh's own points. Collective."""
    if case.grid.space == "mesh":
        return mesh_points(mesh, comm)
    bounds = mesh.bounds(comm)
    grid = make_grid(_box(case, mesh, bounds), case.grid.shape, case.grid.spacing)
    grid = replace(grid, reconstruction=case.grid.reconstruction)
    return grid.with_fluid(fluid_points(grid, mesh, comm, cache))


def _box(case, mesh, bounds):
    """(2, 3) the case's box, that of a flat mesh at its own height."""
    if case.grid.box is None:
        return bounds
    box = np.array(case.grid.box, float)
    if is_flat(mesh):
        return np.column_stack([box[:, :2], bounds[:, 2]])
    if box.shape[1] == 2:
        raise ConfigurationError(
            "grid.box: has two numbers for a corner, but the mesh has three dimensions; give three"
        )
    if box[0, 2] == box[1, 2]:
        raise ConfigurationError(f"grid.box: has no height, both corners are at {box[0, 2]:g} m; raise the second")
    return box
