"""Whether a checkpoint agrees with itself: nodes of fields and meshes, and the time of the dump beside it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lxml import etree
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import VTK_LAGRANGE_TETRAHEDRON, VTK_QUADRATIC_TETRA, VTK_TETRA

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import FluidityRestart, n_processes
from coupling.fluidity.msh import GmshMesh, read_msh
from coupling.fluidity.named_files import FIELD_FILES, field_elements, file_name, pieces_of
from coupling.geometry.mesh import MeshError, share_of_pieces
from coupling.simulation.endings import NEAR
from coupling.vtk.vtu import dump_time, piece_paths, read_grid

_SAME_PLACE = 1e-9  # × extent of the mesh, as in the model
_TETRAHEDRA = {VTK_TETRA, VTK_QUADRATIC_TETRA, VTK_LAGRANGE_TETRAHEDRON}  # their corners come first
_ROUNDED = 1e-6  # of a time: files may hold it in single precision
_MOVED = ("extrude", "periodic_boundary_conditions")  # meshes made of others, with other nodes


def check_time(restart: FluidityRestart) -> None:
    """Check that a checkpoint NAME_N_checkpoint.flml is of the time of the dump NAME_N beside it, if that is there.

    Raises
    ------
    FileError
        if it is of another time, or the dump is broken
    """
    base = restart.options.stem.removesuffix("_checkpoint")
    if base == restart.options.stem:
        return
    for dump in (restart.folder / f"{base}{suffix}" for suffix in FIELD_FILES):
        if dump.is_file() and not same_time(restart, time := dump_time(dump)):
            raise FileError(
                f"{restart.options}: is of {restart.time:.15g} s, {dump.name} beside it of {time:.15g} s; expected one "
                "time: take both from one run, or move the dump elsewhere"
            )


def same_time(restart: FluidityRestart, time: float) -> bool:
    """Whether a dump's time [s] is that of a checkpoint, which holds it rounded."""
    return abs(restart.time - time) <= max(NEAR * restart.timestep, _ROUNDED * abs(time))


def check_nodes(restart: FluidityRestart, comm: MPI.Comm) -> None:
    """Check that the files of fields have the cells of their meshes' files in the same order and places. Collective.

    On a mesh that is made of another by extrusion, or is periodic, nodes are others: such a mesh is not looked at.

    Raises
    ------
    FileError
        on every rank, if a file is missing or broken
    MeshError
        on every rank, if a file's nodes are elsewhere
    """
    problem: Exception | None = None
    try:
        n = n_processes(restart)
        for base, paths in _by_mesh(restart).items():
            meshes = [restart.folder / f"{base}.msh"] if n == 1 else pieces_of(restart.folder, base)
            for index in share_of_pieces(n, comm):
                mesh = read_msh(meshes[index])
                for path in paths:
                    _compare(mesh, meshes[index], piece_paths(path)[index])
    except (FileError, MeshError) as error:
        problem = error
    raise_together(problem, comm)


def _by_mesh(restart: FluidityRestart) -> dict[str, list[Path]]:
    """{name of a mesh's file: files of fields that are on it}."""
    tree = flml.read_options(restart.options)
    meshes = {mesh.get("name"): mesh for mesh in tree.getroot().findall("geometry/mesh")}
    paths: dict[str, list[Path]] = {}
    for _, element in field_elements(tree):
        name = element.getparent().getparent().find("mesh").get("name")
        base, path = _file_of(name, meshes), restart.folder / file_name(element)
        if base is not None and path not in paths.setdefault(base, []):
            paths[base].append(path)
    return paths


def _file_of(name: str, meshes: dict[str, etree._Element]) -> str | None:
    """The mesh file that a mesh's nodes are in; None if they are in none."""
    for mesh in _origins(name, meshes):
        if any(mesh.find(f"from_mesh/{change}") is not None for change in _MOVED):
            return None
        source = mesh.find("from_file[@file_name]")
        if source is not None:
            return file_name(source)
    return None


def _origins(name: str | None, meshes: dict[str, etree._Element]) -> Iterator[etree._Element]:
    """A mesh, the one that it is made of, and so on."""
    known: set[str] = set()
    while name in meshes and name not in known:
        known.add(name)
        yield meshes[name]
        above = meshes[name].find("from_mesh/mesh")
        name = None if above is None else above.get("name")


def _compare(mesh: GmshMesh, mesh_path: Path, path: Path) -> None:
    grid = read_grid(path, ())
    n_cells, n_points = grid.GetNumberOfCells(), grid.GetNumberOfPoints()
    if n_cells != len(mesh.cells):
        raise MeshError(f"{path}: has {n_cells} cells, {mesh_path.name} beside it {len(mesh.cells)}; {_TAKE}")
    if n_cells == 0:
        return
    kinds = set(np.unique(vtk_to_numpy(grid.GetCellTypes())).tolist())
    if not kinds <= _TETRAHEDRA:
        raise MeshError(f"{path}: cells of VTK types {sorted(kinds)}, expected tetrahedra as in {mesh_path.name}")
    points = vtk_to_numpy(grid.GetPoints().GetData())
    offsets = vtk_to_numpy(grid.GetCells().GetOffsetsArray())
    corners = vtk_to_numpy(grid.GetCells().GetConnectivityArray())[offsets[:-1, None] + np.arange(4)]
    pairs = [("cell", points[corners].mean(axis=1), mesh.points[mesh.cells].mean(axis=1))]
    if n_points == len(mesh.points):
        pairs.append(("node", points, mesh.points))
    extent = np.ptp(mesh.points, axis=0).max()
    for what, there, expected in pairs:
        apart = np.abs(there - expected).max(axis=1)
        if not apart.max() <= _SAME_PLACE * extent:  # NaN, too
            first = int(np.argmax(~(apart <= _SAME_PLACE * extent)))
            raise MeshError(
                f"{path}: {what} {first} is at {there[first].tolist()} m, in {mesh_path.name} beside it at"
                f" {expected[first].tolist()} m; {_TAKE}"
            )


_TAKE = "the model demands the same nodes and cells in the same order: take the files as the model wrote them"
