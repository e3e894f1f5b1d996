"""The grid over the mesh: whether it covers it, and whether it is as fine."""

import numpy as np

from coupling.geometry.points import MeshPoints
from plugin.check.finding import FAIL, OK, WARN, Finding

_NAME = "grid"
_COARSE, _FINE = 2.0, 0.25  # spacing by the mesh's own: details are lost, or memory is
_COVERED, _FLUID = 0.99, 0.1


def grid(subject):
    """Findings about the case's grid."""
    of, mesh = subject.transfer.grid, subject.mesh
    if isinstance(of, MeshPoints):
        yield Finding(OK, _NAME, f"{of.n_points} nodes of the mesh itself")
        return
    yield from on_mesh(of, mesh)


def on_mesh(of, mesh):
    """Findings about a Grid and the Mesh below it."""
    edge, spacing = median_edge(mesh), np.array(of.spacing)
    about = f"{of}, spacing {' × '.join(f'{h:.3g}' for h in spacing)} m, edges of the mesh {edge:.3g} m (median)"
    if of.fluid.mean() == 0.0:
        yield Finding(FAIL, _NAME, f"{of}: no point lies in the mesh", "correct grid.box, or make the grid finer")
        return
    if spacing.max() > _COARSE * edge:
        yield Finding(WARN, _NAME, about, "what is smaller than the grid's spacing is not analysed; lower grid.spacing")
    elif spacing.max() < _FINE * edge:
        yield Finding(WARN, _NAME, about, "finer than the mesh can tell; a larger grid.spacing saves memory and time")
    else:
        yield Finding(OK, _NAME, about)
    low = np.array(of.origin)
    high = low + spacing * (np.array(of.shape) - 1)
    slack = 1e-9 * (high - low)
    covered = float(np.mean(((mesh.points >= low - slack) & (mesh.points <= high + slack)).all(axis=1)))
    if covered < _COVERED:
        told = f"{covered:.0%} of the mesh's nodes lie in grid.box; further outside nothing is analysed"
        yield Finding(WARN, "coverage", told, "leave grid.box out for the whole mesh, if that is not meant")
    elif of.fluid.mean() < _FLUID:
        yield Finding(
            WARN, "coverage", f"{of.fluid.mean():.0%} of the grid is air", "choose a grid.box around the mesh"
        )
    else:
        yield Finding(OK, "coverage", f"{covered:.0%} of the mesh's nodes in the grid's box")


def median_edge(mesh):
    """Median length of a mesh's edges [m]."""
    corners = mesh.points[mesh.cells]
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    return float(np.median([np.linalg.norm(corners[:, a] - corners[:, b], axis=1) for a, b in pairs]))
