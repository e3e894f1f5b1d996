"""Surfaces in a field's mesh: ground and buildings, and where an increment passes a level."""

from dataclasses import dataclass

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import (
    vtkCellDataToPointData,
    vtkContourFilter,
    vtkQuadricDecimation,
    vtkStaticCleanUnstructuredGrid,
)
from vtkmodules.vtkFiltersGeometry import vtkGeometryFilter

from coupling.vtk.vtu import add_array, as_grid
from plugin.report.page.svg import AFTER, BEFORE, BUILDING

_LEVEL = 0.3  # of the largest change: where the surfaces are drawn
_TRIANGLES = 20_000  # of a surface in the page
_VALUES = "increment"


@dataclass(frozen=True)
class Surface:
    """Triangles of one colour.

    points : (N, 3) [m]; triangles : (T, 3) int; colour : "#rrggbb"; name : of what it is
    """

    points: np.ndarray
    triangles: np.ndarray
    colour: str
    name: str


def surfaces(of):
    """Ground and buildings, and where the analysis is higher, and lower, than the background by some level.

    of : plugin.report.fields.Shown

    Returns
    -------
    list of Surface, the ground first; the others only where there are such places
    """
    grid = _whole(of)
    found = [_surface(*_outside(*_triangles(after(vtkGeometryFilter(), grid))), BUILDING, "ground and buildings")]
    level = _LEVEL * float(np.abs(of.increment).max(initial=0.0))
    for sign, colour, way in ((1.0, BEFORE, "raised"), (-1.0, AFTER, "lowered")):
        contour = vtkContourFilter()
        contour.SetValue(0, sign * level)
        points, triangles = _triangles(after(contour, grid))
        if level > 0.0 and len(triangles):
            found.append(_surface(points, triangles, colour, f"{way} by {level:.3g} or more"))
    return found


def as_polydata(points, triangles):
    """A vtkPolyData of (N, 3) points and (T, 3) triangles."""
    cells, nodes, made = vtkCellArray(), vtkPoints(), vtkPolyData()
    nodes.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float64), deep=True))
    offsets = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int64)
    cells.SetData(numpy_to_vtk(offsets, deep=True), numpy_to_vtk(np.ravel(triangles).astype(np.int64), deep=True))
    made.SetPoints(nodes)
    made.SetPolys(cells)
    return made


def _whole(of):
    """The mesh with the increment at its points; nodes at one place become one, across pieces and discontinuities."""
    mesh, at_points = of.mesh, of.location == "point"
    grid = as_grid(mesh.points, mesh.cells[~mesh.ghost])
    if at_points:
        add_array(grid.GetPointData(), _VALUES, of.increment)
    else:
        add_array(grid.GetCellData(), _VALUES, of.increment[~mesh.ghost])
    grid = after(vtkStaticCleanUnstructuredGrid(), grid)
    if not at_points:
        grid = after(vtkCellDataToPointData(), grid)
    grid.GetPointData().SetActiveScalars(_VALUES)
    return grid


def _outside(points, triangles):
    """A mesh's skin without what lies on the sides and the top of its box."""
    low, high = points.min(axis=0), points.max(axis=0)
    slack, corners = 1e-6 * (high - low), points[triangles]
    faces = [(0, low), (0, high), (1, low), (1, high), (2, high)]
    there = [(np.abs(corners[..., k] - end[k]) <= slack[k]).all(axis=1) for k, end in faces]
    return points, triangles[~np.any(there, axis=0)]


def _surface(points, triangles, colour, name):
    """A Surface of about _TRIANGLES triangles at most, and no other points than theirs."""
    if len(triangles) > _TRIANGLES:
        fewer = vtkQuadricDecimation()
        fewer.SetTargetReduction(1.0 - _TRIANGLES / len(triangles))
        points, triangles = _triangles(after(fewer, as_polydata(points, triangles)))
    used, number = np.unique(triangles, return_inverse=True)
    return Surface(points[used], number.reshape(-1, 3), colour, name)


def after(algorithm, data):
    """What a VTK algorithm makes of its one input."""
    algorithm.SetInputData(data)
    algorithm.Update()
    return algorithm.GetOutput()


def _triangles(polydata):
    if polydata.GetNumberOfCells() == 0:
        return np.empty((0, 3)), np.empty((0, 3), int)
    corners = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return vtk_to_numpy(polydata.GetPoints().GetData()).astype(float), corners.astype(int)
