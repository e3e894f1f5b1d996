"""Surfaces in a field's mesh: ground and buildings, and where an increment passes a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyvista

from coupling.geometry.shapes import linear
from plugin.report.page.svg import AFTER, BEFORE, BUILDING

if TYPE_CHECKING:  # it imports MPI, which the process that draws does not need
    from plugin.report.fields import VariableFields

_LEVEL = 0.3  # of the largest change: where the surfaces are drawn
_TRIANGLES = 20_000  # of a surface in the page
_VALUES = "increment"


@dataclass(frozen=True)
class Surface:
    """Triangles of one colour.

    points : (N, 3) [m]; triangles : (T, 3) int; colour : "#rrggbb"; name : what the surface shows
    """

    points: np.ndarray
    triangles: np.ndarray
    colour: str
    name: str


def surfaces(shown: VariableFields) -> list[Surface]:
    """Ground and buildings, and where the analysis is higher, and lower, than the background by some level.

    The ground comes first; the others are left out where there are no such places.
    """
    grid = _grid(shown)
    skin = grid.extract_surface(algorithm="geometry").triangulate()
    shapes = [_surface(_without_open_sides(skin), BUILDING, "ground and buildings")]
    level = _LEVEL * float(np.abs(shown.increment).max(initial=0.0))
    for sign, colour, way in ((1.0, BEFORE, "raised"), (-1.0, AFTER, "lowered")):
        contour = grid.contour([sign * level], scalars=_VALUES)
        if level > 0.0 and contour.n_cells:
            shapes.append(_surface(contour, colour, f"{way} by {level:.3g} or more"))
    return shapes


def _grid(shown: VariableFields) -> pyvista.UnstructuredGrid:
    """The mesh with the increment at its points; nodes at one place become one, across pieces and discontinuities."""
    mesh, own = shown.mesh, ~shown.mesh.ghost
    if hasattr(mesh, "face_streams"):
        offsets, streams = mesh.face_streams
        kinds = np.full(mesh.n_cells, pyvista.CellType.POLYHEDRON, np.uint8)
        cells = np.insert(streams, offsets[:-1], np.diff(offsets))
        grid = pyvista.UnstructuredGrid(cells, kinds, mesh.points)
    else:
        corners = mesh.cells[own][:, : mesh.shape.n_corners]  # PyVista finds surfaces of linear cells only
        grid = pyvista.UnstructuredGrid({linear(mesh.shape).vtk: corners}, mesh.points)
    if shown.location == "point":
        grid.point_data[_VALUES] = shown.increment
        return grid.clean(average_point_data=False)
    grid.cell_data[_VALUES] = shown.increment[own]
    return grid.clean(average_point_data=False).cell_data_to_point_data()


def _without_open_sides(skin: pyvista.PolyData) -> pyvista.PolyData:
    """A mesh's skin without what lies on the sides and the top of its box."""
    points, triangles = skin.points, skin.regular_faces
    low, high = points.min(axis=0), points.max(axis=0)
    slack, corners = 1e-6 * (high - low), points[triangles]
    faces = [(0, low), (0, high), (1, low), (1, high), (2, high)]
    on_face = [(np.abs(corners[..., k] - end[k]) <= slack[k]).all(axis=1) for k, end in faces]
    return pyvista.PolyData.from_regular_faces(points, triangles[~np.any(on_face, axis=0)])


def _surface(mesh: pyvista.PolyData, colour: str, name: str) -> Surface:
    """A Surface of about _TRIANGLES triangles at most, and no other points than theirs."""
    if mesh.n_cells > _TRIANGLES:
        mesh = mesh.decimate(1.0 - _TRIANGLES / mesh.n_cells)
    used, number = np.unique(mesh.regular_faces, return_inverse=True)
    return Surface(np.asarray(mesh.points[used], float), number.reshape(-1, 3), colour, name)
