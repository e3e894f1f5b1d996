"""Dumps: VTU files as Fluidity writes them, in parallel a PVTU and a folder of pieces."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import VTK_TETRA, vtkCellArray, vtkUnstructuredGrid

from coupling.files import whole_file
from coupling.vtu import DUPLICATE_CELL, GHOST, TIME, add_array, write_grid

_ACTIVE = {1: "Scalars", 3: "Vectors", 9: "Tensors"}


@dataclass(frozen=True)
class Writer:
    """Writes point fields on one mesh.

    grid : vtkUnstructuredGrid with the geometry, and in parallel the ghost marks
    comm : MPI communicator
    """

    grid: object
    comm: object

    def write(self, stem, fields):
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
        self.comm.Barrier()  # the .pvtu appears when all that it names is there
        if self.comm.rank == 0:
            _write_pvtu(stem, fields, self.comm.size)
        self.comm.Barrier()


def make_writer(mesh, halo, comm):
    """Prepare the writer of a gmsh.GmshMesh.

    A cell belongs to the lowest rank that owns one of its nodes; on the others it is marked a ghost.
    """
    grid = vtkUnstructuredGrid()
    points = vtkPoints()
    points.SetData(numpy_to_vtk(mesh.points, deep=True))
    grid.SetPoints(points)
    cells = vtkCellArray()
    offsets = np.arange(0, 4 * len(mesh.cells) + 1, 4, dtype=np.int64)
    cells.SetData(numpy_to_vtk(offsets, deep=True), numpy_to_vtk(mesh.cells.ravel(), deep=True))
    grid.SetCells(VTK_TETRA, cells)
    if comm.size > 1:
        ghost = halo.owners()[mesh.cells].min(axis=1) != halo.process
        add_array(grid.GetCellData(), GHOST, ghost.astype(np.uint8) * np.uint8(DUPLICATE_CELL))
    return Writer(grid, comm)


def _size(values):
    return 1 if values.ndim == 1 else values.shape[1]


def _active(fields):
    """{components: name} of the first field of each size, which viewers show at once."""
    first = {}
    for name, values in fields.items():
        if name != TIME:
            first.setdefault(_size(values), name)
    return first


def _write_pvtu(stem, fields, n_pieces):
    root = etree.Element(
        "VTKFile", type="PUnstructuredGrid", version="0.1", byte_order="LittleEndian", header_type="UInt32",
        compressor="vtkZLibDataCompressor",
    )  # fmt: skip
    whole = etree.SubElement(root, "PUnstructuredGrid", GhostLevel="1")
    at_points = etree.SubElement(whole, "PPointData", {_ACTIVE[s]: name for s, name in _active(fields).items()})
    for name, values in fields.items():
        _declare(at_points, "Float64", name, _size(values))
    _declare(etree.SubElement(whole, "PCellData"), "UInt8", GHOST, 1)
    _declare(etree.SubElement(whole, "PPoints"), "Float64", "Points", 3)
    for rank in range(n_pieces):
        etree.SubElement(whole, "Piece", Source=f"{stem}/{stem}_{rank}.vtu")
    etree.indent(root, "    ")
    with whole_file(f"{stem}.pvtu") as beside:
        etree.ElementTree(root).write(str(beside))


def _declare(parent, kind, name, size):
    array = etree.SubElement(parent, "PDataArray", type=kind, Name=name)
    if size > 1:
        array.set("NumberOfComponents", str(size))
