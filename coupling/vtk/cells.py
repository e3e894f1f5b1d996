"""The cells and nodes of a VTU file, and its arrays, as numpy's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkDataSetAttributes, vtkUnstructuredGrid

from coupling.common.files import FileError
from coupling.geometry.shapes import KNOWN_SHAPES, ONE_SHAPE, SHAPES, TETRAHEDRON, Shape, bent
from coupling.vtk.marks import copied_cells

_FLAT = 1e-9  # × extent: how far from one plane nodes of two dimensions may be


class CellsError(FileError):
    """A whole file, whose cells cannot be used."""


def arrays_of(data: vtkDataSetAttributes) -> dict[str, np.ndarray]:
    """{name: numpy array} of a vtkPointData or vtkCellData; the memory remains VTK's."""
    arrays = {}
    for i in range(data.GetNumberOfArrays()):
        array = data.GetArray(i)
        if array is not None:  # a string array is no field
            arrays[array.GetName()] = vtk_to_numpy(array)
    return arrays


def geometry(grid: vtkUnstructuredGrid, path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, Shape | None]:
    """(points (N,3) float64, cells (E,n) int64, ghost (E,) bool, shape) of a grid; no cells, no shape.

    Raises
    ------
    CellsError
        if the cells are of a shape that is not known or of several, bent, or of two dimensions but not in a plane
    FileError
        if it is damaged
    """
    if grid.GetNumberOfPoints() == 0 or grid.GetNumberOfCells() == 0:
        points = np.empty((0, 3))
        if grid.GetNumberOfPoints():
            points = vtk_to_numpy(grid.GetPoints().GetData()).astype(np.float64)
        return points, np.empty((0, TETRAHEDRON.n_nodes), np.int64), np.empty(0, bool), None
    points = vtk_to_numpy(grid.GetPoints().GetData()).astype(np.float64)
    cells, shape = _cells(grid, path)
    if points.shape[1:] != (3,):
        raise FileError(f"{path}: its points are of shape {points.shape}, expected three coordinates for each")
    if cells.min() < 0 or cells.max() >= len(points):
        raise FileError(
            f"{path}: its cells name nodes {cells.min()} … {cells.max()}, expected 0 … {len(points) - 1}; it is damaged"
        )
    if shape.dimension == 2 and np.ptp(points[:, 2]) > _FLAT * np.ptp(points, axis=0).max():
        raise CellsError(
            f"{path}: its {shape.name} lie at heights from {points[:, 2].min():g} to {points[:, 2].max():g} m, "
            "expected a plane of constant z; a curved surface cannot be analysed"
        )
    if bent(shape, points[cells]).any():
        raise CellsError(
            f"{path}: its {shape.name} have bent edges, expected straight ones; have the model write its fields on a "
            "mesh of linear cells (/io/output_mesh)"
        )
    return points, cells, copied_cells(arrays_of(grid.GetCellData()), len(cells), path), shape


def _cells(grid, path):
    """(E, n) int64 cells and their shape."""
    kinds = np.unique(vtk_to_numpy(grid.GetCellTypes())).tolist()
    if len(kinds) != 1 or kinds[0] not in SHAPES:
        raise CellsError(wrong_kinds(path, kinds))
    shape, n_cells = SHAPES[kinds[0]], grid.GetNumberOfCells()
    offsets = vtk_to_numpy(grid.GetCells().GetOffsetsArray())
    if not np.array_equal(offsets, np.arange(0, shape.n_nodes * n_cells + 1, shape.n_nodes)):
        raise FileError(
            f"{path}: its cells are said to be {shape.name}, but their offsets do not rise by {shape.n_nodes}"
        )
    cells = vtk_to_numpy(grid.GetCells().GetConnectivityArray()).reshape(-1, shape.n_nodes)
    return cells.astype(np.int64), shape


def wrong_kinds(path: str | Path, kinds: Sequence[int]) -> str:
    """What to say of a file with cells of several VTK types, or of one that is not known."""
    found = f"{path}: cells of VTK types {list(kinds)}"
    if set(kinds) <= set(SHAPES):
        return f"{found}; {ONE_SHAPE}"
    return f"{found}, expected {KNOWN_SHAPES}; have the model write its fields on a mesh of such cells"
