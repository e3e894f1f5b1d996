"""Where members lie in a run, how they differ at its start, and where a run goes on.

RUN/0000/members/01/analysis/    start of each member, where draws make them differ
RUN/0000/spin-up/                first time step of a cold start, which has no fields to draw around
RUN/0007/members/01/             a window of one member, as the folder of a window with one model
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.faults import reached
from coupling.geometry.mesh import State
from coupling.simulation.forecast import ForecastModel
from coupling.simulation.simulation import Restart
from plugin.case.configuration import ConfigurationError, CycleCase
from plugin.case.ensemble import EnsembleSection
from plugin.ensemble.parameter_files import read_next
from plugin.ensemble.parameters import first_values, numbers_of
from plugin.ensemble.setting import Setting
from plugin.ensemble.states import column_of
from plugin.run.drivers import simulation_of
from plugin.run.folder import check_restarts, finished, own_file
from plugin.run.recovery import Beginning
from plugin.run.retention import window_folder
from plugin.window.assimilate import WindowAnalysis
from plugin.window.background.of_case import close_all, plan_of, states_of

SPIN_UP = "spin-up"
MEMBERS_DEPTH = 3  # levels of folders from the run's to those of a member's files


@dataclass(frozen=True)
class Members:
    """N members as a window begins.

    beginnings : what each starts from, and the forecast that was analysed
    replaced : members that were replaced by a draw over the run so far
    factors : {field: factor of the forecasts' spread} as the last analysis left them
    parameters : (P, N) unbounded, of the runs to come
    """

    beginnings: tuple[Beginning, ...]
    parameters: np.ndarray
    replaced: int = 0
    factors: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.beginnings)


def member_folder(run: Path, window: int, member: int) -> Path:
    """Folder of a member in a window; members count from 0, their folders from 1."""
    return window_folder(run, window) / "members" / f"{member + 1:02d}"


def find_members(case: CycleCase, comm: MPI.Comm, resume: bool, after: int | None) -> tuple[int, Members | None]:
    """Where to go on. Collective; nothing is written.

    Returns
    -------
    number of windows done, and the Members of the next; None where no window is done

    Raises
    ------
    ConfigurationError, FileError
        as `plugin.run.folder.find_run`
    """
    open_restart = simulation_of(case.model).open_restart
    entries = on_rank_0(lambda: finished(case, resume, after), comm)
    if not entries:
        return 0, None
    told = entries[-1]["members"]
    restarts = on_rank_0(lambda: [own_file(case.run, of["restart"]) for of in told], comm)
    check_restarts([path.parent for path in restarts], case.run, len(entries), comm)
    forecasts = on_rank_0(
        lambda: [own_file(case.run, of["forecast"]) if of.get("changed") else None for of in told], comm
    )
    beginnings = tuple(
        Beginning(open_restart(restart), None if forecast is None else open_restart(forecast), {})
        for restart, forecast in zip(restarts, forecasts, strict=True)
    )
    parameters = on_rank_0(lambda: read_next(case, len(entries)), comm)
    return len(entries), Members(beginnings, parameters, entries[-1]["replaced"], entries[-1].get("inflation", {}))


def first_members(first: Restart, case: CycleCase, setting: Setting, model: ForecastModel, comm: MPI.Comm) -> Members:
    """The members of the first window, made anew in RUN/0000. Collective.

    Raises
    ------
    ConfigurationError
        if there are fewer earlier states than members
    ModelError, GateError, FileError, MeshError, OSError
        as the model, the gates and the files raise them
    """
    ensemble, unknown = _of(case), setting.parameters
    parameters = first_values(unknown, ensemble.members, ensemble.seed)
    if ensemble.start.source == "restart":
        return Members((Beginning(first, None, {}),) * ensemble.members, parameters)
    folder = window_folder(case.run, 0)
    on_rank_0(lambda: shutil.rmtree(folder, ignore_errors=True), comm)
    on_rank_0(folder.mkdir, comm)
    transfer, simulation = setting.transfer, setting.simulation
    if not set(transfer.field_names) <= set(first.fields):
        first = model.run(first, first.time + first.timestep, folder / SPIN_UP, comm).restart
    state = transfer.within_bounds(simulation.read_fields(first, comm, transfer.field_names))
    beginnings = []
    for member, increment in enumerate(_increments(state, case, setting, comm)):
        passed = setting.gates.passed(WindowAnalysis(transfer.added(state, increment), None, []), state, first)
        target = member_folder(case.run, 0, member) / "analysis"
        numbers = numbers_of(unknown, parameters[:, member])
        restart = simulation.write_restart(first, target, comm, passed.changes, manifest=True, numbers=numbers)
        beginnings.append(Beginning(restart, first, {}))
    reached("members begun")
    return Members(tuple(beginnings), parameters)


def _increments(state: State, case: CycleCase, setting: Setting, comm: MPI.Comm) -> Iterator[np.ndarray]:
    """(n_local,) of each member, on the grid: what it differs by from the start."""
    ensemble = _of(case)
    n = ensemble.members
    if ensemble.start.source == "modes":
        assert setting.background is not None
        transform = setting.background.transform
        draws = np.column_stack([generator(ensemble.seed, 0, m).standard_normal(transform.n_control) for m in range(n)])
        # about the start itself, and with the spread that was asked for in spite of that
        draws = (draws - draws.mean(axis=1, keepdims=True)) * (ensemble.start.factor * np.sqrt(n / (n - 1)))
        for draw in draws.T:
            yield transform.apply(draw)
        return
    plan = plan_of(case.background.snapshots, comm)
    if len(plan) < n:
        raise ConfigurationError(
            f"ensemble.start: {n} members, but background.snapshots has {len(plan)} states; name more, or take members "
            "from modes"
        )
    chosen = np.sort(np.random.default_rng(ensemble.seed).choice(len(plan), n, replace=False))
    about = column_of(state, setting.transfer)
    for earlier in states_of(case, [plan[k] for k in chosen]):
        yield column_of(setting.transfer.within_bounds(earlier), setting.transfer) - about
    close_all(plan)


def generator(seed: int, window: int, member: int) -> np.random.Generator:
    """Random numbers of one member in one window: the same after a resume, and on any number of ranks."""
    return np.random.default_rng([seed, window, member])


def _of(case: Any) -> EnsembleSection:
    assert case.ensemble is not None
    return case.ensemble
