"""Read and write VTU files and the PVTU sets of a parallel run.

VTK reads and writes; this module turns its data into :class:`~coupling.geometry.mesh.State`
and keeps what a simulation needs: same nodes, same order, Float64, all other arrays unchanged.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from lxml import etree
from mpi4py import MPI
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkDataSetAttributes, vtkUnstructuredGrid
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader, vtkXMLUnstructuredGridWriter

from coupling.common.collective import raise_together
from coupling.common.files import FileError, leads_out, whole_file
from coupling.geometry.mesh import Field, MeshError, State, join_pieces, share_of_pieces
from coupling.geometry.shapes import TETRAHEDRON, Shape
from coupling.vtk.cells import CellsError, arrays_of, geometry, wrong_kinds
from coupling.vtk.marks import (
    DUPLICATE_CELL,
    GHOST,
    GHOST_LEVELS,
    MARKS,
    hidden_levels,
    hidden_name,
    shown_name,
)
from coupling.vtk.messages import errors_as_exceptions
from coupling.vtk.sizes import SizeError, check_sizes
from coupling.vtk.xml import parse_xml, write_xml

TIME = "Time"

_NOT_IN_NAMES = re.compile('[<>&"\x00-\x1f]')


def is_time(name: str) -> bool:
    """Whether an array at points is the time; of several material phases it is the first phase's, `Air::Time`."""
    return name == TIME or name.endswith(f"::{TIME}")


def piece_paths(path: str | Path) -> list[Path]:
    """The VTU files of a dump: the file itself, or a PVTU's pieces in their order."""
    path = Path(path)
    if path.suffix == ".vtu":
        if not path.is_file():
            raise FileError(f"{path}: no such file")
        return [path]
    if path.suffix != ".pvtu":
        raise FileError(f"{path}: expected a .vtu or .pvtu file")
    sources = [piece.get("Source") for piece in parse_xml(path).iter("{*}Piece")]
    if not sources or None in sources:
        raise FileError(f"{path}: names no pieces; expected <Piece Source=…> elements")
    for source in sources:
        if leads_out(path.parent, source):
            raise FileError(
                f"{path}: its piece {source!r} is outside its own folder; put the pieces beside or below it"
            )
    pieces = [path.parent / source for source in sources]
    given = set()
    for piece in pieces:
        if piece in given:
            raise FileError(f"{path}: names its piece {piece} twice, so its cells would count twice; name each once")
        given.add(piece)
        if not piece.is_file():
            raise FileError(f"{path}: its piece {piece} is missing; copy it beside, or run the model again")
    return pieces


def read_grid(path: str | Path, names: Collection[str] | None = None) -> vtkUnstructuredGrid:
    """Read one VTU file into a vtkUnstructuredGrid; `names` limits the arrays that are read.

    Raises
    ------
    FileError
        if the file is missing or broken, or lacks one of `names` (it lists what there is)
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        check_sizes(path)
    except SizeError as error:
        raise FileError(f"{path}: {error}") from None
    reader, hidden = vtkXMLUnstructuredGridReader(), hidden_levels(path)
    if hidden is None:
        reader.SetFileName(os.fsencode(path))  # type: ignore[arg-type]  # its stub does not know that bytes will do
    else:
        reader.SetReadFromInputString(True)
        reader.SetInputString(hidden)  # type: ignore[call-overload]  # its stub does not know that bytes will do
    with errors_as_exceptions(reader, path, "reading"):
        reader.UpdateInformation()
    if names is not None:
        available = set()
        for selection in (reader.GetPointDataArraySelection(), reader.GetCellDataArraySelection()):
            for i in range(selection.GetNumberOfArrays()):
                name = selection.GetArrayName(i)
                available.add(shown_name(name))
                if shown_name(name) not in names and not (TIME in names and is_time(name)):
                    selection.DisableArray(name)
        missing = sorted(set(names) - available - {TIME, *MARKS})
        if missing:
            raise FileError(f"{path}: no array {missing[0]!r}; it has {sorted(available)}")
    with errors_as_exceptions(reader, path, "reading"):
        reader.Update()
    grid = reader.GetOutput()
    if hidden is not None:
        for data in (grid.GetPointData(), grid.GetCellData()):
            if (levels := data.GetAbstractArray(hidden_name(GHOST_LEVELS))) is not None:
                levels.SetName(GHOST_LEVELS)
    return grid


def _popped_time(arrays):
    """The array of the time, taken out with its like; None if there is none."""
    times = [arrays.pop(name) for name in sorted(filter(is_time, arrays))]
    return times[0] if times else None


def _time(values, path):
    if values is None or len(values) == 0:
        return None
    if values.ndim != 1:
        raise FileError(f"{path}: array {TIME!r} has {values.shape[1]} components, expected one time at each point")
    if np.ptp(values) != 0 or not np.isfinite(values[0]):
        raise FileError(f"{path}: array {TIME!r} is not one finite time: {values.min():g} … {values.max():g}")
    return float(values[0])


def read_state(
    path: str | Path, comm: MPI.Comm, names: Collection[str] | None = None, time: float | None = None
) -> State:
    """Read a dump (VTU or PVTU); each rank reads its own pieces. Collective.

    Parameters
    ----------
    path : the .vtu or .pvtu file
    comm : MPI communicator
    names : fields to read; None reads all
    time : s, for files without a `Time` array (checkpoint files); a dump's own `Time` is kept

    Returns
    -------
    State, all its fields on one Mesh

    Raises
    ------
    FileError
        on any rank, when one of them finds a missing or broken file, array or time
    """
    pieces = piece_paths(path)
    parts, data, times, shapes, problem = [], [], [], {}, None
    try:
        for index in share_of_pieces(len(pieces), comm):
            grid = read_grid(pieces[index], None if names is None else {*names, *MARKS, TIME})
            points, cells, ghost, shape = geometry(grid, pieces[index])
            parts.append((index, points, cells, ghost))
            if shape is not None:
                shapes[shape.vtk] = shape
            at_points, at_cells = arrays_of(grid.GetPointData()), arrays_of(grid.GetCellData())
            times.append(_time(_popped_time(at_points), pieces[index]))
            for mark in MARKS:  # of the mesh, no fields
                at_points.pop(mark, None)
                at_cells.pop(mark, None)
            for name in at_points.keys() & at_cells.keys():
                raise FileError(f"{pieces[index]}: {name} is there at points and at cells; rename one of them")
            data.append((at_points, at_cells))
        if len(shapes) > 1:
            raise CellsError(wrong_kinds(path, sorted(shapes)))
    except (FileError, MeshError) as error:
        problem = error
    raise_together(problem, comm)

    own_times = {t for ts in comm.allgather(times) for t in ts if t is not None}
    if len(own_times) > 1:
        raise FileError(f"{path}: its pieces are of different times {sorted(own_times)}; expected one time")
    time = own_times.pop() if own_times else time
    if time is None:
        raise _timeless(path)
    mesh = join_pieces(parts, len(pieces), comm, next(iter(shapes.values()), None))
    return State(float(time), _join_fields(mesh, data, path, comm))


def dump_time(path: str | Path) -> float:
    """The time of a dump [s], from the first piece that has points; nothing else is read.

    Raises
    ------
    FileError
        if the dump is broken or has no time
    """
    for piece in piece_paths(path):
        time = _time(_popped_time(arrays_of(read_grid(piece, {TIME}).GetPointData())), piece)
        if time is not None:
            return time
    raise _timeless(path)


def _timeless(path):
    return FileError(f"{path}: has no point array {TIME!r} for its time; is it a dump of the simulation?")


def _join_fields(mesh, data, path, comm):
    """Stack the pieces' arrays; a rank without pieces gets empty arrays of the same shapes."""
    shapes = [
        {
            name: (where, a.shape[1:])
            for where, arrays in zip(("point", "cell"), both, strict=True)
            for name, a in arrays.items()
        }
        for both in data
    ]
    every = [shape for shapes_of_rank in comm.allgather(shapes) for shape in shapes_of_rank]
    if any(shape != every[0] for shape in every):
        raise FileError(f"{path}: its pieces hold different arrays: {every}")
    fields = {}
    for name, (where, tail) in every[0].items():
        arrays = [both[where == "cell"][name] for both in data]
        values = np.concatenate([np.empty((0, *tail)), *arrays]).astype(np.float64)
        fields[name] = Field(name, mesh, values, where)
    return fields


def write_grid(grid: vtkUnstructuredGrid, path: str | Path) -> None:
    """Write a vtkUnstructuredGrid as Fluidity does (appended raw, zlib), whole or not at all.

    Raises
    ------
    FileError
        if VTK cannot write it, or cannot write the name of an array
    OSError
        if the file cannot be made
    """
    for data in (grid.GetPointData(), grid.GetCellData()):
        for i in range(data.GetNumberOfArrays()):
            if _NOT_IN_NAMES.search(name := data.GetArrayName(i) or ""):  # VTK does not escape them
                raise FileError(f"{path}: array {name!r} has a name that VTK cannot write; rename the field")
    with whole_file(path) as beside:
        writer = vtkXMLUnstructuredGridWriter()
        writer.SetFileName(os.fsencode(beside))  # type: ignore[arg-type]  # as above
        writer.SetInputData(grid)
        writer.SetDataModeToAppended()
        writer.EncodeAppendedDataOff()
        writer.SetCompressorTypeToZLib()
        with errors_as_exceptions(writer, path, "writing"):
            if not writer.Write():
                raise FileError(f"{path}: could not be written; is the folder writable and the disk not full?")


def set_array(data: vtkDataSetAttributes, name: str, values: np.ndarray) -> None:
    """Replace the values of array `name` of a vtkPointData or vtkCellData, keeping its attributes."""
    old = data.GetArray(name)
    if old is None or vtk_to_numpy(old).shape != np.shape(values):
        raise MeshError(
            f"array {name!r}: {'missing' if old is None else vtk_to_numpy(old).shape} in the file, "
            f"{np.shape(values)} to be written"
        )
    vtk_to_numpy(old)[...] = values
    old.Modified()


def add_array(data: vtkDataSetAttributes, name: str, values: np.ndarray) -> None:
    """Add a new array to a vtkPointData or vtkCellData."""
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    array.SetName(name)
    data.AddArray(array)


def mark_ghosts(grid: vtkUnstructuredGrid, ghost: np.ndarray) -> None:
    """Mark cells that another piece owns, as VTK and Fluidity do: (C,) bool."""
    add_array(grid.GetCellData(), GHOST, np.asarray(ghost).astype(np.uint8) * np.uint8(DUPLICATE_CELL))


def as_grid(points: np.ndarray, cells: np.ndarray, shape: Shape = TETRAHEDRON) -> vtkUnstructuredGrid:
    """A vtkUnstructuredGrid of (N, 3) float64 nodes and (C, n) cells of one shape."""
    grid, nodes, of_cells = vtkUnstructuredGrid(), vtkPoints(), vtkCellArray()
    nodes.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float64), deep=True))
    grid.SetPoints(nodes)
    n = shape.n_nodes
    offsets = np.arange(0, n * len(cells) + 1, n, dtype=np.int64)
    of_cells.SetData(numpy_to_vtk(offsets, deep=True), numpy_to_vtk(np.ravel(cells).astype(np.int64), deep=True))
    grid.SetCells(shape.vtk, of_cells)
    return grid


def write_pvtu(
    path: str | Path,
    sources: Sequence[str],
    at_points: Sequence[tuple[str, int]],
    at_cells: Sequence[tuple[str, int]] = (),
    active: Mapping[str, str] | None = None,
) -> None:
    """Write the file that names the pieces of a parallel dump, whole or not at all.

    Parameters
    ----------
    path : the .pvtu
    sources : names of the pieces, relative to its folder
    at_points, at_cells : (name, components) of the pieces' Float64 arrays; ghost marks are always declared
    active : attributes of PPointData, e.g. {"Scalars": name}
    """
    root = etree.Element(
        "VTKFile", type="PUnstructuredGrid", version="0.1", byte_order="LittleEndian", header_type="UInt32",
        compressor="vtkZLibDataCompressor",
    )  # fmt: skip
    body = etree.SubElement(root, "PUnstructuredGrid", GhostLevel="1")
    point_data, cell_data = etree.SubElement(body, "PPointData", active or {}), etree.SubElement(body, "PCellData")
    for parent, arrays in ((point_data, at_points), (cell_data, at_cells)):
        for name, components in arrays:
            _declare(parent, "Float64", name, components)
    _declare(cell_data, "UInt8", GHOST, 1)
    _declare(etree.SubElement(body, "PPoints"), "Float64", "Points", 3)
    for source in sources:
        etree.SubElement(body, "Piece", Source=source)
    etree.indent(root, "    ")
    write_xml(etree.ElementTree(root), path)


def _declare(parent, kind, name, components):
    array = etree.SubElement(parent, "PDataArray", type=kind, Name=name)
    if components > 1:
        array.set("NumberOfComponents", str(components))
