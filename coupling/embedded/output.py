"""Dumps: VTU files as Fluidity writes them, in parallel a PVTU and a folder of pieces."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI
from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

from coupling.fluidity.halo import Halo
from coupling.fluidity.msh import GmshMesh
from coupling.vtk.vtu import TIME, add_array, as_grid, mark_ghosts, write_grid, write_pvtu

_ACTIVE = {1: "Scalars", 3: "Vectors", 9: "Tensors"}


@dataclass(frozen=True)
class Writer:
    """Writes point fields on one mesh.

    grid : vtkUnstructuredGrid with the geometry, and in parallel the ghost marks
    comm : MPI communicator
    """

    grid: vtkUnstructuredGrid
    comm: MPI.Comm

    def write(self, stem: str, fields: Mapping[str, np.ndarray]) -> None:
        """Write `stem`.vtu, or .pvtu and pieces. Collective.

        Parameters
        ----------
        stem : file name without suffix
        fields : {name: (N,), (N, 3) or (N, 9) float64}
        """
        grid = vtkUnstructuredGrid()
        grid.ShallowCopy(self.grid)
        data = grid.GetPointData()
        for name, values in fields.items():
            add_array(data, name, values)
        for size, name in _active(fields).items():
            getattr(data, f"SetActive{_ACTIVE[size]}")(name)
        if self.comm.size == 1:
            write_grid(grid, Path(f"{stem}.vtu"))
            return
        Path(stem).mkdir(exist_ok=True)
        write_grid(grid, Path(stem) / f"{stem}_{self.comm.rank}.vtu")
        self.comm.Barrier()  # the .pvtu appears when all pieces are written
        if self.comm.rank == 0:
            sources = [f"{stem}/{stem}_{rank}.vtu" for rank in range(self.comm.size)]
            sizes = [(name, _size(values)) for name, values in fields.items()]
            write_pvtu(f"{stem}.pvtu", sources, sizes, active={_ACTIVE[s]: n for s, n in _active(fields).items()})
        self.comm.Barrier()


def make_writer(mesh: GmshMesh, halo: Halo, comm: MPI.Comm) -> Writer:
    """Prepare the writer for a rank's piece of a mesh.

    A cell belongs to the lowest rank that owns one of its nodes; on the others it is marked a ghost.
    """
    grid = as_grid(mesh.points, mesh.cells)
    if comm.size > 1:
        mark_ghosts(grid, halo.owners()[mesh.cells].min(axis=1) != halo.process)
    return Writer(grid, comm)


def _size(values):
    return 1 if values.ndim == 1 else values.shape[1]


def _active(fields):
    """{components: name} of the first field of each size, which viewers show first."""
    first: dict[int, str] = {}
    for name, values in fields.items():
        if name != TIME:
            first.setdefault(_size(values), name)
    return first
