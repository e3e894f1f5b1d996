"""The loop of an estimate: all members over the whole period, one update of their parameters by all readings, again.

RUN/estimate/0001/members/01/   a member's run of an iteration: dumps and logs; the dumps of the last one stay
RUN/estimate/0001/readings.csv  each reading with the members' mean and spread before the update
RUN/estimate/ledger.jsonl       one line per finished iteration, with the parameters that it left

The members' states are not analysed: parameters alone differ. What is in the ledger is all that the next iteration
needs, so that a run that is killed goes on with the same bits.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.faults import reached
from coupling.common.watchdog import watched
from coupling.simulation.forecast import ForecastModel
from coupling.simulation.simulation import Restart
from da.ensemble.ensemble import mean_of
from da.ensemble.esmda import coefficients
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.configuration import ConfigurationError, CycleCase
from plugin.ensemble.forecasts import Forecasts, forecast_members, groups_of
from plugin.ensemble.members import MEMBERS_DEPTH, member_folder
from plugin.ensemble.parameters import Parameters, analysed_values, first_values, prepared
from plugin.ensemble.readings import Compared, compare, spread_of
from plugin.ensemble.replacement import count_failures, weights_of
from plugin.ensemble.setting import Setting, make_setting
from plugin.ensemble.states import AtReadings, at_own_times
from plugin.estimate.at_readings import mode_in_time, update_by
from plugin.estimate.results import REASONS, iteration_line, write_readings, write_results
from plugin.run.drivers import forecast_model
from plugin.run.folder import begin_run, finished
from plugin.run.ledger import append_entry
from plugin.run.lock import locked
from plugin.run.progress import Progress
from plugin.run.rank_groups import RankGroup
from plugin.run.recovery import Beginning
from plugin.run.retention import prune, window_folder
from plugin.window.observations.errors import with_errors
from plugin.window.observations.selection import ObservationSettings, window_readings
from plugin.window.refusals import check_variables, checked_start

FOLDER = "estimate"
_SAME = 1e-3  # times this near, in time steps, are the same


@dataclass(frozen=True)
class Job:
    """What every iteration needs.

    case, model, setting, parameters : of the run, whose folder is RUN/estimate
    first : what every member starts from
    until : end of the period [s]
    readings : Observations of the period, their errors as they count
    treated : how they are treated
    group : RankGroup of this rank, which runs one model at a time
    """

    case: CycleCase
    model: ForecastModel
    setting: Setting
    parameters: Parameters
    first: Restart
    until: float
    readings: Observations
    treated: ObservationSettings
    group: RankGroup
    comm: MPI.Comm
    progress: Progress

    @property
    def n_members(self) -> int:
        """N."""
        assert self.case.ensemble is not None
        return self.case.ensemble.members


def run_estimate(case: CycleCase, comm: MPI.Comm, resume: bool = False, progress: Progress | None = None) -> None:
    """Estimate a case's parameters from all readings of its windows. Collective.

    Parameters
    ----------
    case : CycleCase with `ensemble` and `parameters`
    comm : MPI communicator
    resume : go on after the last finished iteration

    Raises
    ------
    ConfigurationError
        if the case has no parameters, or the run that is there does not fit it
    ModelError
        if more members fail than `ensemble.failures` allows
    others
        as `plugin.cycle.run_cycle`
    """
    progress = progress or Progress(comm)
    if not case.parameters or case.ensemble is None:
        raise ConfigurationError("parameters: this section is missing; it names what is to be estimated")
    case = case.model_copy(update={"run": case.run / FOLDER})
    with locked(case.run, comm, progress.say, MEMBERS_DEPTH), watched(case.watchdog):
        _run(case, comm, resume, progress)


def _run(case: CycleCase, comm: MPI.Comm, resume: bool, progress: Progress) -> None:
    entries = on_rank_0(lambda: finished(case, resume, None), comm)
    job = _job(case, comm, progress)
    factors = coefficients(case.estimate.iterations, case.estimate.fall)
    steps: list[float | None] = [*map(float, factors), *([None] if case.estimate.rerun else [])]
    _check_same(entries, steps, job)
    on_rank_0(lambda: begin_run(case, resume, len(entries)), comm)
    progress.say(
        f"{len(job.parameters)} parameters, {job.n_members} members, {job.group.count} at once; {len(job.readings)} "
        f"readings; {len(steps)} iterations from {job.first.time:g} to {job.until:g} s: "
        f"{len(steps) * job.n_members} model runs"
    )
    assert case.ensemble is not None
    before, finished_before = first_values(job.parameters, job.n_members, case.ensemble.seed), len(entries)

    def results() -> None:
        write_results(case, job.parameters, before, entries, job.readings, job.setting)

    for number in range(finished_before + 1, len(steps) + 1):
        earlier = entries[-1] if entries else None
        entries.append(_iteration(number, steps, before, earlier, job))
        if number > 1:
            on_rank_0(
                lambda: prune(case.run, [entries[-1]["iteration"] - 1], len(steps) + 1, job.setting.simulation), comm
            )
        on_rank_0(results, comm)
    if finished_before == len(steps):  # the job before this one may have ended within its last results
        on_rank_0(results, comm)
    progress.say(f"{len(steps)} iterations done; {case.run / 'parameters.csv'}, {case.run / 'posterior.png'}")


def _job(case: CycleCase, comm: MPI.Comm, progress: Progress) -> Job:
    """The Job of a case, and what must be refused before anything is written. Collective."""
    assert case.ensemble is not None
    first, readings = checked_start(case, comm, progress.say)
    until = first.time + case.cycle.windows * case.cycle.window
    setting = make_setting(case, first, False, comm, progress.say)
    # a floor is for cycles, whose parameters must be able to follow what comes; here it would be no posterior
    parameters = replace(setting.parameters, floor=np.zeros(len(setting.parameters)))
    check_variables(readings, setting.transfer, case.observations.file)
    slack = _SAME * first.timestep
    of_period = (readings.time > first.time + slack) & (readings.time <= until + slack)
    usable, treated = window_readings(
        readings, of_period, until, case.observations, setting.transfer, None, slack
    )  # fmt: skip
    usable = with_errors(usable, case.observations.error_model)
    group = groups_of(case.ensemble.at_once, case.ensemble.members, comm)
    model = forecast_model(case.model)
    return Job(case, model, setting, parameters, first, until, usable, treated, group, comm, progress)


def _check_same(entries: list[dict[str, Any]], steps: list[float | None], job: Job) -> None:
    """Refuse to go on with iterations of another period or other factors on R."""
    for entry in entries:
        number = entry["iteration"]
        if number > len(steps) or entry["factor"] != steps[number - 1] or entry["until"] != job.until:
            raise ConfigurationError(
                f"{job.case.run}: iteration {number} has the factor {entry['factor']} on R and ends at "
                f"{entry['until']:g} s, which is not so in the case; resume with the same settings, or start a new "
                "run folder"
            )


def _iteration(
    number: int, steps: list[float | None], before: np.ndarray, earlier: Mapping[str, Any] | None, job: Job
) -> dict[str, Any]:
    """Run the members, update their parameters, record it. Returns the ledger's entry. Collective.

    before : (P, N) under the prior; earlier : the last iteration's entry
    """
    case, comm, progress, transfer = job.case, job.comm, job.progress, job.setting.transfer
    values = before if earlier is None else np.array(earlier["parameters"], dtype=np.float64)
    label, factor = f"iteration {number} of {len(steps)}", steps[number - 1]
    folders = [member_folder(case.run, number, member) for member in range(job.n_members)]
    on_rank_0(lambda: _make(folders), comm)
    reached("iteration begun")
    with progress.stage("forecast", f"{label}: runs to {job.until:g} s"):
        forecasts = _forecasts(values, folders, job)
    assert case.ensemble is not None
    replaced = 0 if earlier is None else earlier["replaced"]
    replaced = count_failures(label, forecasts, replaced, case.ensemble.failures, progress.say)
    weights, _ = weights_of(list(forecasts.good), job.n_members, case.ensemble.seed, number)
    values = values[:, list(forecasts.good)] @ weights if forecasts.failed else values
    reached("members run")
    with progress.stage("update", f"{label}: update"):
        seen = at_own_times(
            list(forecasts.good.values()),
            job.readings,
            mode_in_time(case.observations),
            _SAME * job.first.timestep,
            transfer,
            job.setting.simulation,
            comm,
        )
        seen = seen.combined(weights) if forecasts.failed else seen
        if earlier is None:
            compared = compare(job.readings, seen, job.until, job.treated, transfer.grid)
        else:  # each reading counts once in all
            compared = _as_before(job.readings, seen, earlier["flags"])
        if len(compared.used) == 0:
            left_out = Counter(REASONS[int(flag)] for flag in compared.flags)
            why = ", ".join(f"{count} {text}" for text, count in left_out.items()) or "there is none"
            raise ConfigurationError(f"{case.observations.file}: no reading of the period is used: {why}")
        after = values
        if factor is not None:
            after = analysed_values(
                job.parameters,
                values,
                lambda fields: update_by(compared, fields, factor, job.treated, transfer, comm),
            )
    used = compared.used
    departure = (compared.readings.value - mean_of(compared.values))[used]
    entry: dict[str, Any] = {
        "iteration": number,
        "factor": factor,
        "until": job.until,
        "readings": len(job.readings),
        "used": len(used),
        "flags": [int(flag) for flag in compared.flags],
        "rms": float(np.sqrt(np.mean(departure**2))),
        "spread": float(np.sqrt(np.mean(spread_of(compared.values)[used] ** 2))),
        "chi_squared": float(np.mean((departure / compared.readings.error[used]) ** 2)),
        "parameters": after.tolist(),
        "replaced": replaced,
        "failed": {str(member + 1): problem for member, problem in forecasts.failed.items()},
        "seconds": {name: round(s, 4) for name, s in progress.seconds.items()},
        "model_seconds": round(sum(of.seconds for of in forecasts.good.values()), 4),
    }
    on_rank_0(lambda: _keep(case.run, number, compared, entry), comm)
    progress.say(iteration_line(label, entry, job.parameters, after))
    return entry


def _as_before(readings: Observations, seen: AtReadings, flags: list[int]) -> Compared:
    """Members at the readings, of which those are used that the last iteration used, if all members have them."""
    now = np.array(flags, dtype=np.int8)
    for flag, marked in ((Flag.NO_STATE, ~seen.in_time), (Flag.OUTSIDE, ~seen.inside)):
        now[(now == Flag.USED) & marked] = flag
    return Compared(readings, seen.values, now)


def _forecasts(values: np.ndarray, folders: list[Path], job: Job) -> Forecasts:
    """Every member over the whole period with its own parameters. Collective."""
    beginnings = [Beginning(job.first, None, {})] * job.n_members
    return forecast_members(
        beginnings, job.until, job.model, job.setting.gates, folders, job.group, job.comm, job.progress.say, False,
        prepared(job.parameters, values, job.setting.simulation),
    )  # fmt: skip


def _make(folders: list[Path]) -> None:
    for folder in folders:
        folder.mkdir(parents=True)


def _keep(run: Path, number: int, compared: Compared, entry: dict[str, Any]) -> None:
    write_readings(window_folder(run, number) / "readings.csv", compared)
    reached("table written")
    append_entry(run / "ledger.jsonl", entry)
    reached("iteration recorded")
