"""Many states in time, from an archive or from the dumps of a run."""

import operator
from collections.abc import Collection
from copy import copy
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mpi4py import MPI

from coupling.archive import Archive
from coupling.archive.by_variable import SplitArchive, reopened_parts
from coupling.archive.writer import ArchiveWriter
from coupling.common.collective import on_rank_0
from coupling.geometry.mesh import AnyMesh, PolyhedralMesh, State
from coupling.vtk.cells import arrays_of
from coupling.vtk.dumps import Dumps, dumps_in_time, write_dump
from coupling.vtk.vtu import MARKS, is_time, piece_paths, read_grid, read_state

ARCHIVE_SUFFIXES = (".vtkhdf", ".hdf")


class DumpSeries:
    """The dumps of a run in the order of their times, used like an Archive. Collective.

    paths : files, folders or patterns, as :func:`coupling.vtk.dumps.list_dumps` takes them
    comm : MPI communicator
    left_out : list that receives the problems of broken dumps; None makes that an error
    files : the dumps in time order
    times : (S,) [s], rising

    Raises
    ------
    FileError
        if there are no dumps, one is broken, or two are of one time
    """

    def __init__(self, paths: Dumps, comm: MPI.Comm, left_out: list[str] | None = None) -> None:
        self._comm = comm
        self.files, self.times = dumps_in_time(paths, comm, left_out)
        self.times.flags.writeable = False
        self._mesh: AnyMesh | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> "DumpSeries":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing stays open between reads."""

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the first dump's fields. Collective."""
        return on_rank_0(lambda: _field_names(self.files[0]), self._comm)

    def read(self, step: int, names: Collection[str] | None = None) -> State:
        """Read one state; each rank reads its own pieces. Collective.

        Parameters
        ----------
        step : 0 … S − 1, or from −S to count from the end
        names : fields to read; None reads all

        Returns
        -------
        State; states on one mesh, read one after another, share one Mesh object

        Raises
        ------
        FileError
            if the dump is broken or lacks one of `names`
        IndexError
            if there is no such step
        """
        number, n_steps = operator.index(step), len(self)
        if not -n_steps <= number < n_steps:
            raise IndexError(f"{self.files[0].parent}: no step {number}; there are {n_steps}, counted from 0")
        state = read_state(self.files[number], self._comm, names)
        fresh = next((f.mesh for f in state.fields.values()), None)
        if fresh is None:
            self._mesh = None
            return state
        mesh = fresh if self._mesh is None or fresh.fingerprint != self._mesh.fingerprint else self._mesh
        self._mesh = mesh
        return State(state.time, {name: replace(f, mesh=mesh) for name, f in state.fields.items()})


Series = Archive | DumpSeries | SplitArchive


def _field_names(path):
    grid = read_grid(piece_paths(path)[0])
    names = {*arrays_of(grid.GetPointData()), *arrays_of(grid.GetCellData())} - MARKS
    return tuple(sorted(name for name in names if not is_time(name)))


def open_series(path: Dumps, comm: MPI.Comm, left_out: list[str] | None = None) -> Archive | DumpSeries:
    """Open an archive, or the dumps of a run, as states in time. Collective.

    Parameters
    ----------
    path : a .vtkhdf archive, or dumps: a folder, a file, a pattern, or several of them
    comm : MPI communicator
    left_out : list that receives the problems of broken dumps, on every rank; None makes that an error

    Returns
    -------
    Archive or DumpSeries; both have `times`, `field_names`, `read(step, names)`, `close()`, a length, and
    work in `with` blocks

    Raises
    ------
    FileError
        on every rank, if there is nothing that can be read
    """
    several = [path] if isinstance(path, (str, Path)) else list(path)
    if len(several) == 1 and Path(several[0]).suffix in ARCHIVE_SUFFIXES and not Path(several[0]).is_dir():
        return Archive(several[0], comm)
    return DumpSeries(several, comm, left_out)


def reopened(series: Any, comm: MPI.Comm) -> Any:
    """The same series of whatever type, for other ranks. Collective over these."""
    if isinstance(series, Archive):
        return Archive(series.path, comm)
    if isinstance(series, SplitArchive):
        return reopened_parts(series, comm)
    again = copy(series)  # its dumps and their times need not be read again
    again._comm, again._mesh = comm, None
    return again


def write_state(state: State, path: str | Path, comm: MPI.Comm) -> Path:
    """Write one state so that ParaView and :func:`open_series` open it: a dump, or of polyhedra an archive. Collective.

    Parameters
    ----------
    state : State, its fields on one mesh
    path : where to, without suffix: it becomes .vtu or .pvtu, see :func:`coupling.vtk.dumps.write_dump`, or .vtkhdf
    comm : MPI communicator

    Returns
    -------
    Path of the file

    Raises
    ------
    MeshError, FileError, OSError
        as `write_dump` and `ArchiveWriter`
    """
    if not any(isinstance(of.mesh, PolyhedralMesh) for of in state.fields.values()):
        return write_dump(state, path, comm)
    path = Path(path)
    path = path.with_name(f"{path.name}.vtkhdf")
    with ArchiveWriter(path, comm) as archive:
        archive.append(state)
    return path


def read_written(path: str | Path, comm: MPI.Comm) -> State:
    """The state in a file of `write_state`. Collective. FileError if the file is not one, or is damaged."""
    with open_series(path, comm) as series:
        return series.read(0)


def written_states(folder: Path, pattern: str) -> list[Path]:
    """Files of `write_state` in a folder whose names without suffix match a pattern, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".vtu", ".pvtu", ".vtkhdf") and path.is_file() and fnmatchcase(path.stem, pattern)
    )
