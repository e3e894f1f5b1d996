"""Whether a checkpoint agrees with itself: nodes of fields and meshes, and the time of the dump beside it."""

from pathlib import Path

import numpy as np
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import FluidityRestart, n_processes
from coupling.fluidity.msh import GmshMesh, read_msh
from coupling.fluidity.named_files import FIELD_FILES, field_elements, file_name, mesh_file, pieces_of
from coupling.geometry.mesh import MeshError, share_of_pieces
from coupling.geometry.shapes import SHAPES, linear
from coupling.simulation.endings import NEAR
from coupling.vtk.vtu import dump_time, piece_paths, read_grid

_SAME_PLACE = 1e-9  # × extent of the mesh, as in the model
_ROUNDED = 1e-6  # of a time: files may hold it in single precision


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

    The model extrudes a mesh anew at each start unless it is in a file of its own, as in checkpoints: without it such a
    mesh's nodes are in no file, and are not looked at.

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
        for (base, periodic), paths in _by_mesh(restart).items():
            meshes = [restart.folder / f"{base}.msh"] if n == 1 else pieces_of(restart.folder, base)
            for index in share_of_pieces(n, comm):
                mesh = read_msh(meshes[index])
                for path in paths:
                    _compare(mesh, meshes[index], piece_paths(path)[index], periodic)
    except (FileError, MeshError) as error:
        problem = error
    raise_together(problem, comm)


def _by_mesh(restart: FluidityRestart) -> dict[tuple[str, bool], list[Path]]:
    """{(name of a mesh's file, whether nodes of it are joined by periodicity): files of fields that are on it}."""
    tree = flml.read_options(restart.options)
    paths: dict[tuple[str, bool], list[Path]] = {}
    for _, element in field_elements(tree):
        base, periodic = mesh_file(tree, element.getparent().getparent().find("mesh").get("name"))
        path = restart.folder / file_name(element)
        if base is not None and path not in paths.setdefault((base, periodic), []):
            paths[base, periodic].append(path)
    return paths


def _compare(mesh: GmshMesh, mesh_path: Path, path: Path, periodic: bool) -> None:
    grid = read_grid(path, ())
    n_cells, n_points = grid.GetNumberOfCells(), grid.GetNumberOfPoints()
    if n_cells != len(mesh.cells):
        raise MeshError(f"{path}: has {n_cells} cells, {mesh_path.name} beside it {len(mesh.cells)}; {_TAKE}")
    if n_cells == 0:
        return
    kinds = np.unique(vtk_to_numpy(grid.GetCellTypes())).tolist()
    if not all(kind in SHAPES and linear(SHAPES[kind]) is mesh.shape for kind in kinds):
        of_mesh = f"{mesh.shape.name} ({mesh.shape.vtk})"
        raise MeshError(f"{path}: cells of VTK types {kinds}, {mesh_path.name} beside it has {of_mesh}; {_TAKE}")
    points, corners = vtk_to_numpy(grid.GetPoints().GetData()), _corners(grid, mesh.shape.n_corners)
    extent = np.ptp(mesh.points, axis=0).max()
    if periodic:
        there, expected = _at_one_of_their_places(points, corners, mesh)
        _same(mesh_path, path, "node", there, expected, extent)
        return
    _same(mesh_path, path, "cell", points[corners].mean(axis=1), mesh.points[mesh.cells].mean(axis=1), extent)
    if n_points == len(mesh.points) and kinds == [mesh.shape.vtk]:
        _same(mesh_path, path, "node", points, mesh.points, extent)


def _corners(grid: vtkUnstructuredGrid, n: int) -> np.ndarray:
    """(E, n) nodes at the cells' corners, which come first."""
    offsets = vtk_to_numpy(grid.GetCells().GetOffsetsArray())
    return vtk_to_numpy(grid.GetCells().GetConnectivityArray())[offsets[:-1, None] + np.arange(n)]


def _at_one_of_their_places(points, corners, mesh):
    """(nodes' places in a file, the nearest of the places that the mesh has for each), of nodes at corners.

    A node of a periodic mesh stands for several of the mesh that it is made of, and is written at one of their places.
    """
    node, places = corners.ravel(), mesh.points[mesh.cells].reshape(-1, 3)
    apart = np.abs(points[node] - places).max(axis=1)
    order = np.lexsort((apart, node))  # NaN last
    _, first = np.unique(node[order], return_index=True)
    nearest = order[first]
    return points[node[nearest]], places[nearest]


def _same(mesh_path: Path, path: Path, what: str, there: np.ndarray, expected: np.ndarray, extent: float) -> None:
    apart = np.abs(there - expected).max(axis=1)
    if not apart.max() <= _SAME_PLACE * extent:  # NaN, too
        first = int(np.argmax(~(apart <= _SAME_PLACE * extent)))
        raise MeshError(
            f"{path}: {what} {first} is at {there[first].tolist()} m, in {mesh_path.name} beside it at"
            f" {expected[first].tolist()} m; {_TAKE}"
        )


_TAKE = "the model demands the same nodes and cells in the same order: take the files as the model wrote them"
