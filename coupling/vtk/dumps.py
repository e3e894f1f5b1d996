"""The dumps of a run: which files they are, their order in time, and how to write one."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError, matching
from coupling.geometry.mesh import MeshError, State, of_elements
from coupling.vtk.vtu import TIME, add_array, as_grid, dump_time, mark_ghosts, write_grid, write_pvtu
from coupling.vtk.xml import parse_xml

Dumps = str | Path | Iterable[str | Path]  # files, folders and patterns

_SUFFIXES = (".vtu", ".pvtu")
# Fluidity rounds the time it restarts from: 1.1 where the dump has 1.0999999999999999
_SAME_TIME = 1e-12


def list_dumps(paths: Dumps) -> list[Path]:
    """The dump files that `paths` mean, each once, in the order of their names.

    Folders and patterns give the .pvtu and .vtu files directly there, but not those of checkpoints, whose names
    end in `_checkpoint` (dumps of a restarted run have it in the middle), nor those of our restarts: `restart_<Mesh>`,
    and what a `restart.flml` beside them names. A simulation may itself be called `restart_west`: its dumps end in a
    number. A file that is named itself is always included.

    Parameters
    ----------
    paths : a file, folder or pattern (`run/mini_*.vtu`), or several of them

    Returns
    -------
    list of Path, one or more

    Raises
    ------
    FileError
        if one of `paths` gives no dump
    """
    dumps: dict[Path, Path] = {}
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(path)
        if path.is_file():
            if path.suffix not in _SUFFIXES:
                raise FileError(f"{path}: not a dump; expected a .vtu or .pvtu file")
            files = [path]
        else:
            candidates = path.iterdir() if path.is_dir() else matching(path)
            # hidden ones are unfinished files of writers that are at work, or were killed
            present = sorted(
                f for f in candidates if f.suffix in _SUFFIXES and not f.name.startswith(".") and f.is_file()
            )
            names = {folder: _restart_names(folder) for folder in {f.parent for f in present}}
            files = [f for f in present if not _is_start(f, names[f.parent])]
            if not files:
                problem = "has no dumps (.vtu or .pvtu)" if path.is_dir() else "no such file, folder or dumps"
                if present:
                    problem += f"; {present[0].name} and what else is there belongs to checkpoints or restarts"
                raise FileError(f"{path}: {problem}")
        dumps.update((file.resolve(), file) for file in files)
    if not dumps:
        raise FileError("no dumps were named; expected .vtu or .pvtu files, folders or patterns")
    return list(dumps.values())


def _is_start(path: Path, named: set[str]) -> bool:
    """Whether a file is one that the model starts from, no dump of it."""
    unnumbered = path.stem.startswith("restart_") and not re.search(r"_\d+$", path.stem)
    return path.stem.endswith("_checkpoint") or unnumbered or path.name in named


def _restart_names(folder: Path) -> set[str]:
    """The files that the options of a restart of ours name, if there is one in a folder."""
    options = folder / "restart.flml"
    if not options.is_file():
        return set()
    return {name for element in parse_xml(options).iter() if (name := element.get("file_name"))}


def dump_times(paths: Sequence[str | Path], comm: MPI.Comm, left_out: list[str] | None = None) -> np.ndarray:
    """Times of dumps [s], from the dumps; the ranks share the reading. Collective.

    Parameters
    ----------
    paths : the files
    comm : MPI communicator
    left_out : list that receives the problems of broken dumps, on every rank; None makes that an error

    Returns
    -------
    (len(paths),) array, NaN for those left out

    Raises
    ------
    FileError
        on every rank, if a dump is broken or has no time
    """
    times, problems = np.zeros(len(paths)), []
    for k in range(comm.rank, len(paths), comm.size):
        try:
            times[k] = dump_time(paths[k])
        except (FileError, OSError) as error:
            times[k] = np.nan
            problems.append(error)
            if left_out is None:
                break
    if left_out is None:
        raise_together(problems[0] if problems else None, comm)
    else:
        left_out += sorted(str(problem) for some in comm.allgather(problems) for problem in some)
    return comm.allreduce(times)


def dumps_in_time(paths: Dumps, comm: MPI.Comm, left_out: list[str] | None = None) -> tuple[list[Path], np.ndarray]:
    """The dumps that `paths` mean in the order of their times. Collective.

    Parameters
    ----------
    paths : as for :func:`list_dumps`
    comm : MPI communicator
    left_out : as for :func:`dump_times`

    Returns
    -------
    (list of Path, (S,) times [s])

    Raises
    ------
    FileError
        if there are none, one is broken, or two have the same time
    """
    files = on_rank_0(lambda: list_dumps(paths), comm)
    times = dump_times(files, comm, left_out)
    order = np.argsort(times, kind="stable")[: np.isfinite(times).sum()]
    if len(order) == 0:
        assert left_out  # without it a broken dump has raised
        raise FileError(f"none of {len(files)} dumps can be read; the first: {left_out[0]}")
    files, times = [files[k] for k in order], times[order]
    for k in np.flatnonzero(np.diff(times) <= _SAME_TIME * np.abs(times[1:])):
        raise FileError(
            f"{files[k]} and {files[k + 1]} are both of {times[k]:.15g} s; leave one of them out, e.g. by a pattern"
        )
    return files, times


def write_dump(state: State, path: str | Path, comm: MPI.Comm) -> Path:
    """Write a state as a dump that :func:`coupling.vtk.vtu.read_state` reads back bit for bit. Collective.

    Parameters
    ----------
    state : State, its fields on one mesh
    path : where to, without suffix: it becomes .vtu, or for a mesh of several pieces .pvtu beside a
        folder of pieces
    comm : MPI communicator; each rank writes its own pieces

    Returns
    -------
    Path of the .vtu or .pvtu

    Raises
    ------
    MeshError
        if the fields are on several meshes, or on polyhedra
    FileError, OSError
        on every rank, if one cannot write
    """
    meshes = {f.mesh.fingerprint: f.mesh for f in state.fields.values()}
    if len(meshes) != 1:
        raise MeshError(f"state of {state.time:g} s: {len(meshes)} meshes, a dump holds fields on one")
    (mesh,) = meshes.values()
    mesh = of_elements(mesh, f"{path}: a dump")
    path = Path(path)
    main = path.with_name(f"{path.name}.{'vtu' if mesh.n_pieces == 1 else 'pvtu'}")
    if mesh.n_pieces > 1:
        on_rank_0(lambda: path.mkdir(exist_ok=True), comm)
    problem = None
    try:
        for piece in mesh.pieces:
            target = main if mesh.n_pieces == 1 else path / f"{path.name}_{piece.index}.vtu"
            write_grid(_piece_grid(state, mesh, piece), target)
    except (FileError, OSError) as error:
        problem = error
    raise_together(problem, comm)
    if mesh.n_pieces > 1:
        on_rank_0(lambda: _write_pvtu(state, mesh, path, main), comm)
    return main


def _piece_grid(state, mesh, piece):
    grid = as_grid(mesh.points[piece.nodes], mesh.cells[piece.cells] - piece.nodes.start, mesh.shape)
    for name, field in state.fields.items():
        if field.location == "point":
            add_array(grid.GetPointData(), name, field.values[piece.nodes])
        else:
            add_array(grid.GetCellData(), name, field.values[piece.cells])
    add_array(grid.GetPointData(), TIME, np.full(grid.GetNumberOfPoints(), state.time))
    if mesh.n_pieces > 1:
        mark_ghosts(grid, mesh.ghost[piece.cells])
    return grid


def _write_pvtu(state, mesh, path, main):
    sources = [f"{path.name}/{path.name}_{k}.vtu" for k in range(mesh.n_pieces)]
    arrays = {"point": [(TIME, 1)], "cell": []}
    for name, field in state.fields.items():
        arrays[field.location].append((name, field.components))
    write_pvtu(main, sources, arrays["point"], arrays["cell"])
