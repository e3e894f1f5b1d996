"""States of earlier runs as a case or a command names them: archives, dumps, or a simulation's own folders of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from mpi4py import MPI

from coupling.archive import Archive
from coupling.archive.by_variable import SplitArchive, join_by_variable
from coupling.archive.series import ARCHIVE_SUFFIXES, open_series
from coupling.common.collective import on_rank_0
from coupling.common.files import matching
from coupling.simulation.simulation import Series as AnySeries
from coupling.vtk.dumps import Dumps
from coupling.vtk.vtu import piece_paths
from plugin.case.sections import SeriesSection
from plugin.run.drivers import OF_THEIR_OWN


class FileSeries(AnySeries, Protocol):
    """A series each of whose states has a file, or a folder, of its own."""

    @property
    def files(self) -> Sequence[Path]:
        """Of each state."""


Series = Archive | SplitArchive | FileSeries
Plan = list[tuple[Series, int]]  # open series, number of a state in it


def open_states(paths: Dumps, comm: MPI.Comm, left_out: list[str] | None = None) -> Archive | FileSeries:
    """Open an archive, dumps, or a folder of states in a form that its simulation alone has. Collective.

    Parameters and errors are those of :func:`coupling.archive.series.open_series`.
    """
    several = [paths] if isinstance(paths, (str, Path)) else list(paths)
    kinds = on_rank_0(lambda: {_own_kind(Path(path)) for pattern in several for path in matching(pattern)}, comm)
    kind = next(iter(kinds)) if len(kinds) == 1 else None
    if kind is None:
        return open_series(several, comm, left_out)
    own: Any = OF_THEIR_OWN[kind]
    return own.open_series(several, comm, left_out)


def open_snapshots(settings: SeriesSection, comm: MPI.Comm, left_out: list[str] | None = None) -> list[Series]:
    """Open the series that a `snapshots` entry means: one, or several archives or cases by a pattern. Collective.

    Archives that hold different variables of the same states are joined.

    left_out : as for `coupling.archive.series.open_series`

    Returns
    -------
    list of open series

    Raises
    ------
    FileError
        if one cannot be read, or archives are split by variable and their times differ
    """
    several = on_rank_0(lambda: [str(p) for p in matching(settings.path) if _is_one_of_several(p)], comm)
    opened: list[Series] = [open_states(path, comm, left_out) for path in several or [str(settings.path)]]
    packed = [series for series in opened if isinstance(series, Archive)]
    return list[Series](join_by_variable(packed)) if len(packed) == len(opened) else opened


def _is_one_of_several(path: Path) -> bool:
    """Whether a path that a pattern means is a series by itself: an archive, or a simulation's own folder of states."""
    return path.suffix in ARCHIVE_SUFFIXES or _own_kind(path) is not None


def _own_kind(path: Path) -> int | None:
    """Which simulation's own folder of states a path is; None of archives and dumps."""
    return next((k for k, simulation in enumerate(OF_THEIR_OWN) if simulation.is_series(path)), None)


def sources_of(series: Series, step: int) -> list[tuple[Path, int]]:
    """Files that hold a state, and the state's number in each."""
    if isinstance(series, SplitArchive):
        return [(Path(archive.path), number) for archive, number in series.places(step)]
    return [(Path(series.path if isinstance(series, Archive) else series.files[step]), step)]


def parts_of(source: Path) -> list[Path]:
    """The files behind a file or folder that holds a state: a dump's pieces, all files of a folder."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.is_file())
    return [source] if source.suffix in ARCHIVE_SUFFIXES else [Path(path) for path in piece_paths(source)]


def fingerprint(plan: Plan, times: Sequence[float]) -> str:
    """Hash of where the states come from: names and sizes of files, steps and times.

    Folders do not count, so that files may be moved, nor do dates, which copies change.
    """
    digest, sizes = hashlib.sha256(), dict[Path, list[int]]()
    for (series, step), time in zip(plan, times, strict=True):
        for source, number in sources_of(series, step):
            if source not in sizes:
                sizes[source] = [part.stat().st_size for part in parts_of(source)]
            digest.update(f"{source.name} {sizes[source]} {number} {time!r}\n".encode())
    return digest.hexdigest()[:32]
