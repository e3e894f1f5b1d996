"""Mean and spread of the members on the mesh, window by window, and as archives that ParaView opens.

    RUN/0001/mean.vtu, spread.vtu       of the analyses: the members' mean, and their standard deviation with N − 1; of
                                        polyhedra mean.vtkhdf, spread.vtkhdf
    RUN/0001/forecast_mean.vtu, …       of the forecasts
    RUN/mean.vtkhdf, RUN/spread.vtkhdf  all windows, made of these when the last one is done

Fields on different meshes have files of their own: mean_Velocity.vtu. A mesh that is not the same for all members, as
where each adapts its own, has no mean.
"""

from functools import partial
from glob import escape
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.archive.series import read_written, write_state, written_states
from coupling.archive.writer import ArchiveWriter
from coupling.common.collective import on_rank_0
from coupling.common.faults import reached
from coupling.common.files import FileError
from coupling.geometry.mesh import Field, State
from plugin.run.retention import window_folder

KINDS = ("mean", "spread")
OF_FORECASTS = "forecast_"  # how names of files of the forecasts begin


class Moments:
    """Sums of the members, one after another (Welford 1962, https://doi.org/10.1080/00401706.1962.10490022)."""

    def __init__(self) -> None:
        self._count = 0
        self._first: dict[str, Field] = {}
        self._mean: dict[str, np.ndarray] = {}
        self._squares: dict[str, np.ndarray] = {}

    def add(self, state: State) -> None:
        """Add a member, the same fields for each."""
        self._count += 1
        if self._count == 1:
            self._first = dict(state.fields)
            self._mean = {name: of.values.copy() for name, of in state.fields.items()}
            self._squares = {name: np.zeros_like(of.values) for name, of in state.fields.items()}
            return
        for name in list(self._first):
            of = state[name]
            if of.mesh.fingerprint != self._first[name].mesh.fingerprint:
                del self._first[name]
                continue
            departure = of.values - self._mean[name]
            self._mean[name] += departure / self._count
            self._squares[name] += departure * (of.values - self._mean[name])

    def states(self, time: float) -> tuple[State, State]:
        """Mean and spread of the fields that all members have on one mesh."""
        last = max(self._count - 1, 1)
        mean = {name: of.replaced(self._mean[name]) for name, of in self._first.items()}
        spread = {name: of.replaced(np.sqrt(self._squares[name] / last)) for name, of in self._first.items()}
        return State(time, mean), State(time, spread)


def write_moments(
    moments: Moments, time: float, folder: Path, comm: MPI.Comm, beginning: str = "", ending: str = ""
) -> list[str]:
    """Write a window's mean and spread. Collective.

    beginning, ending : of the files' names

    Returns
    -------
    names of the files, mean and spread in turn, without suffix
    """
    written = []
    for kind, state in zip(KINDS, moments.states(time), strict=True):
        for label, fields in _by_mesh(state).items():
            name = f"{beginning}{kind}{label}{ending}"
            write_state(State(time, fields), folder / name, comm)
            written.append(name)
            reached("moments written")
    return written


def read_moments(folder: Path, comm: MPI.Comm, beginning: str = "") -> tuple[State, State]:
    """A window's mean and spread as `write_moments` left them: fields whose mesh was the same for all members.

    Collective. FileError if there are none
    """
    states = []
    for kind in KINDS:
        paths = on_rank_0(partial(written_states, folder, f"{beginning}{kind}*"), comm)
        if not paths:
            raise FileError(
                f"{folder}: no {beginning}{kind}.vtu; the members' meshes differ, or an older version wrote this window"
            )
        read = [read_written(path, comm) for path in paths]
        states.append(State(read[0].time, {name: of for one in read for name, of in one.fields.items()}))
    return states[0], states[1]


def _by_mesh(state: State) -> dict[str, dict[str, Field]]:
    """{"" for the first mesh, _Name for others: fields}."""
    meshes: dict[str, dict[str, Field]] = {}
    for name, of in state.fields.items():
        meshes.setdefault(of.mesh.fingerprint, {})[name] = of
    return {"" if number == 0 else f"_{min(of)}": of for number, of in enumerate(meshes.values())}


def write_archives(run: Path, windows: int, comm: MPI.Comm) -> list[str]:
    """Join the means and spreads of a run's windows into archives. Collective.

    Returns
    -------
    names of the archives; a mean that not all windows have is in none
    """
    names = on_rank_0(lambda: _complete(run, windows), comm)
    for name in names:
        with ArchiveWriter(run / f"{name}.vtkhdf", comm) as archive:
            for number in range(1, windows + 1):
                (path,) = on_rank_0(partial(written_states, window_folder(run, number), escape(name)), comm)
                archive.append(read_written(path, comm))
    return [f"{name}.vtkhdf" for name in names]


def _complete(run: Path, windows: int) -> list[str]:
    """Names of means and spreads that every window has."""
    names = [
        {path.stem for kind in KINDS for path in written_states(window_folder(run, number), f"{kind}*")}
        for number in range(1, windows + 1)
    ]
    return sorted(set.intersection(*names)) if names else []
