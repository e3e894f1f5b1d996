"""The times of cases as states in time, used like an archive or the dumps of another simulation."""

import operator
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import FileError, matching
from coupling.geometry.mesh import AnyMesh, State
from coupling.openfoam.checkpoint import open_restart, read_fields
from coupling.openfoam.restart import OpenFoamRestart
from coupling.openfoam.times import pieces_of, time_folders

Dumps = str | Path | Iterable[str | Path]  # case folders and patterns


class TimeSeries:
    """The times of one or several cases, rising. Collective.

    paths : case folders, or patterns of them
    comm : MPI communicator
    left_out : list that receives the problems of broken times; None makes that an error
    restarts : of each time
    times : (S,) [s], rising

    Raises
    ------
    FileError
        if there are none, one is broken, or two are of one time
    """

    def __init__(self, paths: Dumps, comm: MPI.Comm, left_out: list[str] | None = None) -> None:
        self._comm = comm
        problems: list[str] = []
        self.restarts = on_rank_0(lambda: _restarts(paths, None if left_out is None else problems), comm)
        if left_out is not None:
            left_out += comm.bcast(problems)
        self.times = np.array([restart.time for restart in self.restarts])
        self.times.flags.writeable = False
        self._mesh: AnyMesh | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> "TimeSeries":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing stays open between reads."""

    @property
    def files(self) -> list[Path]:
        """The time folders."""
        return [restart.pieces[0] / restart.time_name for restart in self.restarts]

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the first time's fields."""
        return tuple(sorted(self.restarts[0].fields))

    def read(self, step: int, names: Collection[str] | None = None) -> State:
        """Read one state; each rank reads its own pieces. Collective.

        States on one mesh, read one after another, share one Mesh object.

        Raises
        ------
        FileError
            if the time is broken or lacks one of `names`
        IndexError
            if there is no such step
        """
        number = operator.index(step)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.restarts[0].case}: no step {number}; there are {len(self)}, counted from 0")
        state = read_fields(self.restarts[number], self._comm, names)
        mesh = next(iter(state.fields.values())).mesh if state.fields else None
        if mesh is None or self._mesh is None or mesh.fingerprint != self._mesh.fingerprint:
            self._mesh = mesh
            return state
        shared = self._mesh
        return State(state.time, {name: replace(field, mesh=shared) for name, field in state.fields.items()})


def is_series(path: Path) -> bool:
    """Whether a path is a case folder, whose times are states."""
    return (path / "system/controlDict").is_file()


def open_series(path: Dumps, comm: MPI.Comm, left_out: list[str] | None = None) -> TimeSeries:
    """Open the times of cases as states in time. Collective.

    Raises
    ------
    FileError
        on every rank, if there is nothing that can be read
    """
    return TimeSeries(path, comm, left_out)


def _restarts(paths, problems) -> list[OpenFoamRestart]:
    cases = [case for path in ([paths] if isinstance(paths, (str, Path)) else paths) for case in matching(path)]
    found: list[OpenFoamRestart] = []
    for case in cases:
        for time in time_folders(pieces_of(case)):
            try:
                found.append(open_restart(case, time))
            except FileError as error:
                if problems is None:
                    raise
                problems.append(str(error))
    if not found:
        raise FileError(f"{paths}: there are no times of OpenFOAM's cases")
    found.sort(key=lambda restart: restart.time)
    for one, other in zip(found, found[1:], strict=False):
        if one.time == other.time:
            raise FileError(f"{one.case} and {other.case} both have the time {one.time_name} s; name one of them")
    return found
