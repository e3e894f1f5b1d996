"""The grid over the mesh: whether it covers it, and whether it is as fine."""

from collections.abc import Iterator

import numpy as np

from coupling.geometry.grid import Grid
from coupling.geometry.mesh import AnyMesh, PolyhedralMesh
from coupling.geometry.points import MeshPoints
from plugin.check.case.files import CaseFiles
from plugin.check.finding import FAIL, OK, WARN, Finding

_NAME = "grid"
_COARSE, _FINE = 2.0, 0.25  # spacing over the mesh's edge length: details are lost above, memory is wasted below
_COVERED, _FLUID = 0.99, 0.1


def grid(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the case's grid."""
    points = files.transfer.grid
    if isinstance(points, MeshPoints):
        yield Finding(OK, _NAME, f"{points.n_points} {points.what} of the mesh itself")
    else:
        yield from grid_on_mesh(points, files.mesh)


def grid_on_mesh(grid: Grid, mesh: AnyMesh) -> Iterator[Finding]:
    """Findings about a grid and the mesh under it."""
    edge, spacing = median_edge_length(mesh), np.array(grid.spacing)
    about = f"{grid}, spacing {' × '.join(f'{h:.3g}' for h in spacing)} m, median edge of the mesh {edge:.3g} m"
    if grid.fluid.mean() == 0.0:
        yield Finding(FAIL, _NAME, f"{grid}: no point lies in the mesh", "correct grid.box, or refine the grid")
        return
    if spacing.max() > _COARSE * edge:
        yield Finding(
            WARN, _NAME, about, "structures smaller than the grid's spacing are not analysed; reduce grid.spacing"
        )
    elif spacing.max() < _FINE * edge:
        yield Finding(WARN, _NAME, about, "finer than the mesh resolves; a larger grid.spacing saves memory and time")
    else:
        yield Finding(OK, _NAME, about)
    low = np.array(grid.origin)
    high = low + spacing * (np.array(grid.shape) - 1)
    slack = 1e-9 * (high - low)
    covered = float(np.mean(((mesh.points >= low - slack) & (mesh.points <= high + slack)).all(axis=1)))
    if covered < _COVERED:
        text = f"{covered:.0%} of the mesh's nodes lie in grid.box; nothing outside it is analysed"
        yield Finding(WARN, "coverage", text, "if that is not intended, omit grid.box to cover the whole mesh")
    elif grid.fluid.mean() < _FLUID:
        yield Finding(
            WARN, "coverage", f"{grid.fluid.mean():.0%} of the grid is air", "choose a grid.box around the mesh"
        )
    else:
        yield Finding(OK, "coverage", f"{covered:.0%} of the mesh's nodes lie in the grid's box")


def median_edge_length(mesh: AnyMesh) -> float:
    """Median length of a mesh's edges [m]; of polyhedra, of their faces' edges."""
    if isinstance(mesh, PolyhedralMesh):
        return float(np.median(mesh.edge_lengths))
    corners = mesh.points[mesh.cells]
    return float(np.median([np.linalg.norm(corners[:, a] - corners[:, b], axis=1) for a, b in mesh.shape.edges]))
