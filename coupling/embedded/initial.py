"""Initial conditions read from files, with Fluidity's checks and no others.

The nodes must be those of the mesh, in the same order; that is checked. Values are taken as they are:
NaN passes, and halo nodes keep the file's values, right or not.
"""

from pathlib import Path

import numpy as np
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy

from coupling.common.files import FileError
from coupling.vtk.cells import arrays_of
from coupling.vtk.vtu import read_grid

_TOLERANCE = 1e-9  # × extent of the mesh


class PositionError(FileError):
    """A file whose nodes are not those of the mesh."""


def file_of_rank(name: str, comm: MPI.Comm) -> Path:
    """The VTU file that a rank reads, by Fluidity's rules.

    In parallel that is BASE_{rank}.vtu if there is one, even beside a BASE.pvtu that names other
    files, otherwise BASE/BASE_{rank}.vtu.
    """
    path = Path(name)
    if comm.size == 1:
        if path.suffix != ".vtu":
            raise FileError(f"{path}: is of a parallel run, this is one process; start as many as wrote it")
        return path
    if path.suffix != ".pvtu":
        raise FileError(f"{path}: expected a .pvtu file for a run on {comm.size} processes")
    flat = path.with_name(f"{path.stem}_{comm.rank}.vtu")
    return flat if flat.is_file() else path.with_suffix("") / flat.name


def read_values(name: str, field: str, size: int, points: np.ndarray, comm: MPI.Comm) -> np.ndarray:
    """Read a field's values at the nodes.

    Parameters
    ----------
    name : file name in the options
    field : name of the point array
    size : 1 for a scalar, 3 for a vector
    points : (N, 3) nodes of the mesh [m]

    Returns
    -------
    (N,) or (N, 3) float64

    Raises
    ------
    PositionError
        if the file's nodes differ from `points` by more than 1e-9 of the extent
    FileError
        if the file is missing or broken, or has no such array
    """
    path = file_of_rank(name, comm)
    grid = read_grid(path)
    places = (
        vtk_to_numpy(grid.GetPoints().GetData()).astype(np.float64) if grid.GetNumberOfPoints() else np.empty((0, 3))
    )
    if places.shape != points.shape:
        raise PositionError(f"{path}: Node positions do not match: {len(places)} nodes, the mesh has {len(points)}")
    apart = np.abs(places - points).max()
    if not apart <= _TOLERANCE * np.ptp(points, axis=0).max():
        raise PositionError(f"{path}: Node positions do not match: they are up to {apart:g} m from those of the mesh")
    arrays = arrays_of(grid.GetPointData())
    if field not in arrays:
        raise FileError(f"{path}: no point array {field!r}; it has {sorted(arrays)}")
    values = arrays[field].astype(np.float64)
    shape = (len(points),) if size == 1 else (len(points), size)
    if values.shape != shape:
        raise FileError(f"{path}: array {field!r} is of shape {values.shape}, expected {shape}")
    return values
