"""The loop over windows with several models: forecasts of all members, one analysis of them together, their restarts.

RUN/0000/                      starts of the members, where draws make them differ
RUN/0001/members/01/forecast/  what a member's model started from and wrote
RUN/0001/members/01/analysis/  its restart of the next window
RUN/0001/members/01/failed/    what its model left that failed before another try
RUN/0001/mean.vtu, spread.vtu  of the analyses; of all windows in RUN/mean.vtkhdf and RUN/spread.vtkhdf
RUN/0001/forecast_mean.vtu, …  of the forecasts
RUN/0001/smoothed/             the same at dumps before the analysis, if `ensemble.smoother` asks for it
RUN/0001/readings.csv          each reading with innovation, residual and spread of the members
RUN/0001/parameters.json       unknown numbers of the model by member: before and after the analysis, and next
RUN/parameters.csv             their mean, spread and quantiles by window
RUN/ledger.jsonl               one line per finished window, once all files of all members are on the disk
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.faults import reached
from coupling.common.files import FileError, sync
from coupling.geometry.mesh import State
from coupling.simulation.forecast import ForecastModel
from coupling.simulation.simulation import Simulation
from da.ensemble.ensemble import EnsembleReadings
from da.ensemble.hybrid import StaticErrors
from da.observation.observations import Observations
from plugin.case.configuration import CycleCase
from plugin.case.ensemble import EnsembleSection
from plugin.case.observations import ANALYSIS_TIME
from plugin.ensemble.analysis import Base, EnsembleAnalysis, analyse, factor_of_rows, write_members
from plugin.ensemble.forecasts import Forecasts, forecast_members, groups_of
from plugin.ensemble.latent import observed_changes
from plugin.ensemble.members import Members, find_members, first_members, generator, member_folder
from plugin.ensemble.methods import check_localisation
from plugin.ensemble.moments import OF_FORECASTS, Moments, write_archives, write_moments
from plugin.ensemble.parameter_files import MemberValues, ledger_entry, write_parameters
from plugin.ensemble.parameters import next_values, numbers_of, prepared
from plugin.ensemble.readings import Compared, analysed_readings, compare
from plugin.ensemble.record import beginning_line, entry_of, table_of, window_line
from plugin.ensemble.replacement import count_failures, weights_of
from plugin.ensemble.setting import Setting, make_setting
from plugin.ensemble.smoothing import write_smoothed
from plugin.ensemble.states import Columns, columns_of, forecast_state
from plugin.ensemble.static import static_errors
from plugin.run.drivers import forecast_model
from plugin.run.folder import begin_run
from plugin.run.ledger import append_entry
from plugin.run.progress import Progress
from plugin.run.rank_groups import RankGroup
from plugin.run.recovery import Beginning
from plugin.run.retention import disk_need, prune, window_folder
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.observations.errors import with_errors
from plugin.window.observations.selection import ObservationSettings, belongs_to_window, window_readings
from plugin.window.observations.table import write_table
from plugin.window.refusals import check_variables, checked_start

_SAME = 1e-3  # times this near, in time steps, are the same


@dataclass(frozen=True)
class Job:
    """What every window needs.

    case, setting, model, readings : of the run
    group : RankGroup of this rank, which runs one model at a time
    comm : MPI communicator of all ranks
    cache : of what windows share
    progress : Progress
    """

    case: CycleCase
    setting: Setting
    model: ForecastModel
    readings: Observations
    group: RankGroup
    comm: MPI.Comm
    cache: AnalysisCache
    progress: Progress

    @property
    def ensemble(self) -> EnsembleSection:
        """The case's section."""
        assert self.case.ensemble is not None
        return self.case.ensemble

    def folders(self, number: int) -> list[Path]:
        """Folders of the members in a window."""
        return [member_folder(self.case.run, number, member) for member in range(self.ensemble.members)]


def run_ensemble(
    case: CycleCase,
    comm: MPI.Comm,
    resume: bool,
    after: int | None,
    progress: Progress,
    report: Callable[[str], None],
) -> None:
    """Run all windows of a case with an ensemble, whose run folder is locked. Collective.

    report : function of a label, called after each window

    Raises
    ------
    as `plugin.cycle.run_cycle`; ModelError if more members fail than `ensemble.failures` allows
    """
    assert case.ensemble is not None
    n = case.ensemble.members
    done, members = find_members(case, comm, resume, after)
    model = forecast_model(case.model)
    group = groups_of(case.ensemble.at_once, n, comm)
    first, readings = checked_start(case, comm, progress.say)

    files = on_rank_0(lambda: model.simulation.restart_files(first), comm)

    def check_disk(done: int) -> None:
        if done < case.cycle.windows:
            need = on_rank_0(lambda: disk_need(case.run, files, done, case.cycle, n), comm)
            progress.say(need)

    check_disk(done)
    with progress.stage("background"):
        setting = make_setting(case, first, members is None, comm, progress.say)
    check_variables(readings, setting.transfer, case.observations.file)
    check_localisation(case.background, [v.name for v in setting.transfer.variables])
    progress.say(beginning_line(case, setting, group.count, readings, progress.seconds["background"]))
    job = Job(case, setting, model, readings, group, comm, AnalysisCache(), progress)
    on_rank_0(lambda: begin_run(case, resume, done), comm)  # only now, so that a mistake in the case leaves no run
    if members is None:
        with progress.stage("members", "starts of the members"):
            members = first_members(first, case, setting, model, comm)
    for number in range(done + 1, case.cycle.windows + 1):
        members = _window(number, members, first.time + number * case.cycle.window, job)
        if number == 1:
            check_disk(number)  # now it is known what a window needs
        if case.cycle.report:
            report(f"window {number} of {case.cycle.windows}")
    _archive(case, comm, progress)
    progress.say(f"{case.cycle.windows} windows done; ledger: {case.run / 'ledger.jsonl'}")


def _archive(case: CycleCase, comm: MPI.Comm, progress: Progress) -> None:
    """Mean and spread of all windows as archives; the windows' own files are there where these cannot be written."""
    try:
        names = write_archives(case.run, case.cycle.windows, comm)
    except FileError as error:  # h5py without MPI
        progress.say(f"no archives of mean and spread: {error}")
        return
    if names:
        progress.say(f"mean and spread of the members: {', '.join(names)} in {case.run}")


def _window(number: int, members: Members, until: float, job: Job) -> Members:
    """Forecasts, analysis, restarts, ledger. Returns the members as the next window begins."""
    case, comm, progress, transfer = job.case, job.comm, job.progress, job.setting.transfer
    folder, folders = window_folder(case.run, number), job.folders(number)
    on_rank_0(lambda: _make(folders), comm)
    label = f"window {number} of {case.cycle.windows}"
    reached("window begun")
    with progress.stage("forecast", f"{label}: forecasts to {until:g} s"):
        half = case.model.on_failure == "half"
        forecasts = forecast_members(
            members.beginnings, until, job.model, job.setting.gates, folders, job.group, comm, progress.say, half,
            prepared(job.setting.parameters, members.parameters, job.setting.simulation),
        )  # fmt: skip
    replaced = count_failures(label, forecasts, members.replaced, job.ensemble.failures, progress.say)
    reached("forecast there")
    with progress.stage("analysis", f"{label}: analysis"):
        step = next(iter(forecasts.good.values())).restart.timestep
        end = next(iter(forecasts.good.values())).time
        usable, settings = _readings_of_window(members.beginnings[0].restart.time, end, step, job)
        own_times = None if case.observations.window == ANALYSIS_TIME else case.observations.window
        there = list(forecasts.good.values())
        columns = columns_of(there, usable, own_times, _SAME * step, transfer, job.setting.simulation, comm)
        bases, columns, parameters = _with_draws(forecasts, columns, members.parameters, number, job)
        compared = compare(usable, columns.seen, end, settings, transfer.grid)
        analysis = _analysed(columns, bases[0], parameters, compared, settings, members.factors, job)
        following = next_values(job.setting.parameters, analysis.parameters, job.ensemble.seed, number)
    reached("analysis found")
    of_forecasts, of_analyses = Moments(), Moments()

    def each(forecast: State, analysed: State) -> None:
        of_forecasts.add(forecast)
        of_analyses.add(analysed)

    with progress.stage("restart", f"{label}: writing the restarts"):
        written = write_members(
            bases,
            columns.state,
            analysis.state,
            columns.seen.values,
            usable,
            own_times is not None,
            folders,
            [numbers_of(job.setting.parameters, of) for of in following.T],
            job.setting,
            comm,
            each,
        )
        write_moments(of_forecasts, end, folder, comm, OF_FORECASTS)
        write_moments(of_analyses, end, folder, comm)
        if job.ensemble.smoother:
            _smooth(label, analysis, forecasts, _SAME * step, folder / "smoothed", job)
    reached("restart written")
    table = table_of(compared, written.values, generator(job.ensemble.seed, number, len(members)))
    entry = entry_of(number, end, table, forecasts, bases, written, analysis, replaced, case.run, progress.seconds)
    values = MemberValues(parameters, analysis.parameters, following)
    entry |= ledger_entry(job.setting.parameters, values)

    def keep() -> None:
        write_parameters(case.run, number, end, job.setting.parameters, values)
        _keep(case, folder, entry, table, forecasts, job.setting.simulation)

    on_rank_0(keep, comm)
    progress.say(window_line(label, entry))
    beginnings = (
        Beginning(restart, base.forecast.restart if changed else None, {})
        for restart, base, changed in zip(written.restarts, bases, written.changed, strict=True)
    )
    return Members(tuple(beginnings), following, replaced, analysis.factors)


def _smooth(label: str, analysis: EnsembleAnalysis, forecasts: Forecasts, slack: float, folder: Path, job: Job) -> None:
    """Earlier states of a window after its analysis. Collective."""
    if forecasts.failed:  # a draw has no earlier states
        job.progress.say(f"{label}: no smoothed states, because a member was replaced")
    elif analysis.update is not None:
        transfer = job.setting.transfer
        factor = factor_of_rows(analysis.factors, transfer) if job.ensemble.inflation.adaptive else 1.0
        write_smoothed(
            analysis.update,
            factor,
            list(forecasts.good.values()),
            slack,
            folder,
            transfer,
            job.setting.simulation,
            job.comm,
        )


def _make(folders: Sequence[Path]) -> None:
    for folder in folders:
        folder.mkdir(parents=True)


def _readings_of_window(began: float, end: float, step: float, job: Job) -> tuple[Observations, ObservationSettings]:
    """The readings of a window, their errors as they count, and how they are treated. Collective."""
    settings = job.case.observations
    in_time = belongs_to_window(job.readings, began, end, settings, 0.5 * step, _SAME * step)
    usable, treated = window_readings(
        job.readings, in_time, end, settings, job.setting.transfer, None, _SAME * step, job.cache
    )
    return with_errors(usable, settings.error_model), treated


def _with_draws(
    forecasts: Forecasts, columns: Columns, parameters: np.ndarray, number: int, job: Job
) -> tuple[list[Base], Columns, np.ndarray]:
    """What each member's analysis is added to; columns and parameters of all members: draws for those that failed."""
    there = list(forecasts.good)
    weights, origin = weights_of(there, job.ensemble.members, job.ensemble.seed, number)
    bases = [
        Base(forecasts.good[there[of]], columns.state[:, of], member in forecasts.good)
        for member, of in enumerate(origin)
    ]
    if not forecasts.failed:
        return bases, columns, parameters
    return bases, columns.combined(weights), parameters[:, there] @ weights


def _analysed(
    columns: Columns, base: Base, parameters: np.ndarray, compared: Compared, settings: ObservationSettings,
    factors: dict[str, float], job: Job,
) -> EnsembleAnalysis:  # fmt: skip
    """The analysis of a window's readings; base is any member's. Collective."""
    if len(compared.used) == 0:
        return EnsembleAnalysis(columns.state, parameters, None, factors)
    transfer, observe = job.setting.transfer, None
    if job.setting.latent is not None:
        state = forecast_state(base.forecast, transfer, job.setting.simulation, job.comm)
        observe = observed_changes(state, base.column, columns.state, compared, settings, transfer)

    def readings_by(fields: tuple[str, ...] | None) -> EnsembleReadings | None:
        part = compared if fields is None else compared.of_fields(fields)
        if len(part.used) == 0:
            return None
        return analysed_readings(part, settings, transfer.grid, [v.name for v in transfer.variables])

    def static() -> StaticErrors:
        assert job.setting.background is not None
        state = forecast_state(base.forecast, transfer, job.setting.simulation, job.comm)
        return static_errors(job.setting.background.transform, state, compared, settings, transfer, job.comm)

    return analyse(job.case, columns.state, parameters, readings_by, factors, job.setting, job.comm, observe, static)


def _keep(
    case: CycleCase, folder: Path, entry: dict, table: list[dict], forecasts: Forecasts, simulation: Simulation
) -> None:
    for forecast in forecasts.good.values():  # the models wrote them, and did not see to it that they are on the disk
        for path in simulation.restart_files(forecast.restart):
            sync(path)
    write_table(folder / "readings.csv", table)
    reached("table written")
    append_entry(case.run / "ledger.jsonl", entry)
    reached("window recorded")
    prune(case.run, [entry["window"] - 1], case.cycle.keep, simulation)
