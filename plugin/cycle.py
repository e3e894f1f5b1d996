"""The forecast–assimilate loop: mpirun -n N python -m plugin.cycle case.yml

For each window the model runs, its state is compared with the readings, the state is analysed, and
the restart is written from which the model goes on. The ledger gets a line for a window once all its
files are on the disk; `--resume` goes on after the last window in it.

    RUN/lock                 the job that is at work here
    RUN/case.json            the settings of this run
    RUN/ledger.jsonl         one line per finished window
    RUN/0001/forecast/       what the model started from and wrote: dumps, checkpoint, logs
    RUN/0001/analysis/       the restart of the next window
    RUN/0001/readings.csv    each reading with innovation and residual, or why it was left out
    RUN/0001/parts/          starts and forecasts between parts of the last increment, where `cycle.iau` asks for them
    RUN/0001/failed/         what a model left that failed, where `model.on_failure` asks for another try
    RUN/0001/posterior.*     standard deviations of background and analysis, if `diagnostics` asks for them
    RUN/cache/               interpolations between mesh and grid

With a section `ensemble` a window has several models and their restarts: :mod:`plugin.ensemble.cycle`.
"""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.faults import reached
from coupling.common.files import sync
from coupling.common.text import counted
from coupling.common.watchdog import watched
from coupling.simulation.launch import ModelError
from coupling.simulation.simulation import Restart
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.configuration import Case, ConfigurationError, CycleCase, IauSection, read_cycle_case
from plugin.case.observations import ANALYSIS_TIME
from plugin.ensemble.cycle import run_ensemble
from plugin.ensemble.members import MEMBERS_DEPTH
from plugin.report.beside_cycle import report_beside_cycle, report_is_current
from plugin.run.drivers import forecast_model
from plugin.run.folder import begin_run, find_run
from plugin.run.job import read_words, run_job
from plugin.run.ledger import append_entry
from plugin.run.lock import locked
from plugin.run.progress import Progress
from plugin.run.recovery import Beginning, forecast_from
from plugin.run.retention import disk_need, prune, window_folder
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.lengths import length_rule, lengths_line
from plugin.window.background.lengths import summary as lengths_summary
from plugin.window.background.of_case import Background, background
from plugin.window.cross_validation import guard_line
from plugin.window.diagnostics import diagnose
from plugin.window.gates.apply import make_gates
from plugin.window.gates.mesh_operators import check_boundary
from plugin.window.gates.summary import gates_summary
from plugin.window.iau import forecast_in_parts
from plugin.window.observations.earlier import lacking_line, recorded_in
from plugin.window.observations.selection import belongs_to_window, window_readings
from plugin.window.observations.table import write_table
from plugin.window.refusals import check_variables, checked_start, wrong_step

_SAME = 1e-3  # times this near, in time steps, are the same: the model's drift, and its options are rounded


def run_cycle(
    case: CycleCase,
    comm: MPI.Comm,
    resume: bool = False,
    progress: Progress | None = None,
    after: int | None = None,
) -> None:
    """Run all windows of a case. Collective.

    Parameters
    ----------
    case : CycleCase
    comm : MPI communicator
    resume : go on after the last finished window of the run folder
    progress : Progress that shows it; None makes one
    after : window of the run folder to go on after, the later ones being made again; None for its last

    Raises
    ------
    ConfigurationError
        if the run folder holds another run or is in use, `resume` finds nothing that fits, the background cannot be
        made, or the disk is too small
    ReadingsError, LedgerError, FileError, MeshError, ModelError, MinimisationError, GateError, OSError
        as the stages raise them; finished windows stay as they are
    """
    progress = progress or Progress(comm)
    if case.ensemble is not None:
        with locked(case.run, comm, progress.say, MEMBERS_DEPTH), watched(case.watchdog):
            run_ensemble(case, comm, resume, after, progress, partial(_report, case.run, comm=comm, progress=progress))
        return
    with locked(case.run, comm, progress.say), watched(case.watchdog):
        _run(case, comm, resume, after, progress)


def _run(case, comm, resume, after, progress):
    done, beginning = find_run(case, comm, resume, after)
    model = forecast_model(case.model)
    simulation = model.simulation
    first, readings = checked_start(case, comm, progress.say)

    files = on_rank_0(lambda: simulation.restart_files(first), comm)

    def check_disk(done):
        if done < case.cycle.windows:
            progress.say(on_rank_0(lambda: disk_need(case.run, files, done, case.cycle), comm))

    check_disk(done)
    with progress.stage("background"):
        statistics = background(case, comm, case.run / "cache", progress.say)
        lengths = length_rule(case.background.following_lengths, statistics.transfer)
        statistics = replace(statistics, lengths=lengths)
    check_variables(readings, statistics.transfer, case.observations.file)
    if first.fields:  # a cold start has none to look at
        statistics.transfer.to_grid(simulation.read_fields(first, comm, statistics.transfer.field_names))
    gates = make_gates(case.gates, statistics.transfer, simulation.boundary)
    on_rank_0(lambda: check_boundary(case.gates, first, simulation.boundary), comm)
    _check_parts(case.cycle.iau, first)
    progress.say(_background_line(statistics, readings, progress))
    ends = [first.time + number * case.cycle.window for number in range(1, case.cycle.windows + 1)]
    if line := lacking_line(readings, ends, first.time, case.observations, 0.5 * first.timestep):
        progress.say(line)
    on_rank_0(lambda: begin_run(case, resume, done), comm)  # only now, so that a mistake in the case leaves no run
    cache = AnalysisCache()
    for number in range(done + 1, case.cycle.windows + 1):
        until = first.time + number * case.cycle.window
        beginning = _window(number, beginning, until, case, model, readings, statistics, gates, cache, comm, progress)
        if number == 1:
            check_disk(number)  # now it is known what a window needs
        if case.cycle.report:
            _report(case.run, f"window {number} of {case.cycle.windows}", comm, progress)
    if case.cycle.report and done >= case.cycle.windows and not on_rank_0(lambda: report_is_current(case.run), comm):
        _report(case.run, "all windows", comm, progress)  # the job before this one ended within its last report
    progress.say(f"{counted(case.cycle.windows, 'window')} done; ledger: {case.run / 'ledger.jsonl'}")


def _report(run, label, comm, progress):
    """The page of the run so far; a page that cannot be made is no reason to stop."""
    with progress.stage("report", f"{label}: report"):
        warning = report_beside_cycle(run, comm)
    if warning:
        progress.say(warning)


def _window(number, beginning, until, case, model, readings, statistics, gates, cache, comm, progress):
    """Forecast, analysis, restart, ledger. Returns the next window's beginning."""
    folder = window_folder(case.run, number)
    on_rank_0(folder.mkdir, comm)
    label = f"window {number} of {case.cycle.windows}"
    reached("window begun")

    def run(start, until=until):
        forecast = model.run(start, until, folder / "forecast", comm)
        gates.check(forecast.state, "the model ended well but in its forecast", ModelError)
        if problem := wrong_step(forecast.restart):
            raise ModelError(f"{problem}; the model ended well, but nothing can go on from its checkpoint")
        return forecast

    def begin(start):
        if case.cycle.iau is None or start is not beginning.restart:  # another try
            return run(start)
        return forecast_in_parts(beginning, until, case.cycle.iau, run, folder, gates.bounded, model.simulation, comm)

    with progress.stage("forecast", f"{label}: forecast to {until:g} s"):
        forecast, recovery = forecast_from(
            beginning, begin, case.model.on_failure, folder, model.simulation, comm, progress.say
        )
    reached("forecast there")
    with progress.stage("analysis", f"{label}: analysis"):
        usable, settings = _window_readings(
            readings, beginning, forecast, case, number, statistics, model.simulation, comm, cache
        )
        of = statistics, forecast.state, usable, comm, case.minimiser, settings, cache, case.analysis.guard
        analysis = assimilate(*of, beginning.factors, beginning.losses)
    reached("analysis found")
    with progress.stage("gates", f"{label}: gates") if case.gates.changing else nullcontext():
        analysis = gates.passed(analysis, forecast.state, forecast.restart, beginning.biases)
    asked = case.diagnostics.influence or case.diagnostics.posterior  # the others cost nothing to speak of
    with progress.stage("diagnostics", f"{label}: diagnostics") if asked else nullcontext():
        statistics_of_analysis = diagnose(analysis, statistics, forecast.state, case.diagnostics, folder, comm)
    with progress.stage("restart", f"{label}: writing the restart"):
        restart = model.simulation.write_restart(
            forecast.restart, folder / "analysis", comm, analysis.changes, manifest=True
        )
    reached("restart written")
    entry = _entry(number, forecast, restart, analysis, case, progress)
    if analysis.losses:
        entry["lengths"] = lengths_summary(statistics, analysis.losses)
    entry.get("analysis", {}).update(statistics_of_analysis)
    if recovery is not None:
        entry["recovery"] = recovery
    elif case.cycle.iau is not None and beginning.background is not None:
        entry["iau"] = case.cycle.iau.model_dump()
    on_rank_0(lambda: _keep(case, folder, entry, analysis, forecast.restart, model.simulation), comm)
    progress.say(_window_line(label, entry))
    analysed = forecast.restart if analysis.analysis else None
    return Beginning(restart, analysed, analysis.biases, analysis.factors, analysis.losses)


def _window_readings(readings, beginning, forecast, case, number, statistics, simulation, comm, cache):
    """The readings of a window, and how they are treated. Collective."""
    settings = case.observations
    end, step, biases = forecast.state.time, forecast.restart.timestep, beginning.biases
    in_time = belongs_to_window(readings, beginning.restart.time, end, settings, 0.5 * step, _SAME * step)
    # the dumps are looked into for times within the window only
    within = settings.window != ANALYSIS_TIME and (settings.lagged is not None or in_time.any())
    reach = 0 if settings.lagged is None else math.ceil(max(settings.lagged.lags) / case.cycle.window)
    earlier = [window_folder(case.run, n) / "readings.csv" for n in range(max(1, number - reach), number)]
    with simulation.open_series(forecast.folder, comm) if within else nullcontext() as dumps:
        return window_readings(
            readings, in_time, end, settings, statistics.transfer, dumps, _SAME * step, cache, 0.5 * step,
            recorded_in(earlier, comm), biases=biases,
        )  # fmt: skip


def _keep(case, folder, entry, analysis, background, simulation):
    for path in simulation.restart_files(
        background
    ):  # the model wrote them, and did not see to it that they are on the disk
        sync(path)
    write_table(folder / "readings.csv", analysis.table)
    reached("table written")
    append_entry(case.run / "ledger.jsonl", entry)
    reached("window recorded")
    prune(case.run, [entry["window"] - 1], case.cycle.keep, simulation)


def _entry(number, forecast, restart, analysis, case, progress):
    entry = {
        "window": number,
        "time": forecast.state.time,
        "readings": len(analysis.table),
        "used": sum(row["used"] == "yes" for row in analysis.table),
        "left_out": dict(Counter(row["used"].removeprefix("no: ") for row in analysis.table if row["used"] != "yes")),
        "restart": str(restart.path.relative_to(case.run)),
        "forecast": str(forecast.restart.path.relative_to(case.run)),
        "seconds": {name: round(s, 4) for name, s in progress.seconds.items() if name != "background"},
        "model_seconds": round(forecast.seconds, 4),
    }
    if case.observations.lagged is not None:
        entry["earlier_readings"] = analysis.earlier
    if analysis.biases:
        entry["biases"] = analysis.biases
    if analysis.factors:
        entry["background_factors"] = analysis.factors
    if analysis.analysis:
        entry["analysis"] = analysis.analysis.summary()
    if analysis.network:
        entry["network"] = analysis.network.summary()
    if analysis.gates:
        entry["gates"] = analysis.gates
    if analysis.verdict:
        entry["guard"] = analysis.verdict.summary()
    return entry


def _background_line(statistics: Background, readings: Observations, progress: Progress) -> str:
    modes = statistics.modes
    return (
        f"background errors: {counted(modes.n_modes, 'mode')} ({modes.name}) of {counted(modes.n_samples, 'state')}, "
        f"{statistics.transfer.grid}, variables "
        f"{', '.join(v.name for v in statistics.transfer.variables)}; {counted(len(readings), 'reading')}; "
        f"{progress.seconds['background']:.1f} s"
    )


def _window_line(label: str, entry: Mapping[str, Any]) -> str:
    times = "  ".join(f"{name} {s:.2f} s" for name, s in entry["seconds"].items())
    if "analysis" not in entry:
        reasons = entry.get("left_out", {})
        why = "no readings of this time" if not entry["readings"] else "no reading inside the model's air"
        if set(reasons) - {Flag.OUTSIDE.text}:
            why = "no reading is used (" + ", ".join(f"{n} {reason}" for reason, n in reasons.items()) + ")"
        return f"{label}: t = {entry['time']:g} s  {why}, the forecast goes on as it is  {times}"
    a, by = entry["analysis"], entry.get("network", {})
    instead = f"  by TSVD, not by the network: {by['reason']}" if "reason" in by else ""
    factors = ", ".join(f"{name} {value:.2g}" for name, value in entry.get("background_factors", {}).items())
    factors = f"  background errors times {factors}" if factors else ""
    earlier = f" and {entry['earlier_readings']} earlier ones" if entry.get("earlier_readings") else ""
    gates = gates_summary(entry.get("gates", {}))
    gates = f"  gates: {gates}" if gates else ""
    return (
        f"{label}: t = {entry['time']:g} s  {entry['used']} of {entry['readings']} readings{earlier}  "
        f"J {a['cost_initial']:.4g} → {a['cost']:.4g} in {counted(a['iterations'], 'iteration')}  "
        f"rms innovation {a['innovation']['rms']:.3g} → residual {a['residual']['rms']:.3g}  {times}{instead}"
        f"{gates}{factors}{lengths_line(entry.get('lengths'))}{guard_line(entry.get('guard'))}"
    )


def _check_parts(iau: IauSection | None, first: Restart) -> None:
    if iau is not None and iau.over < iau.parts * first.timestep:
        raise ConfigurationError(
            f"cycle.iau: {iau.parts} parts over {iau.over:g} s are nearer to each other than the model's time step of "
            f"{first.timestep:g} s; give fewer parts, or more time"
        )


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line of the cycle; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.cycle", description="Run the forecast–assimilate loop.")
    parser.add_argument("case", nargs="?", type=Path, help="case file (YAML)")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished window")
    parser.add_argument("--after", type=int, metavar="N", help="resume after window N; later ones are made again")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of case files and end")
    arguments = read_words(parser, argv, comm)
    if arguments.schema:
        if comm.rank == 0:
            print(json.dumps(Case.model_json_schema(), indent=2))
        return 0
    if arguments.case is None:
        raise ConfigurationError("no case file is named; python -m plugin.cycle case.yml, or --schema to see its keys")
    resume = arguments.resume or arguments.after is not None
    run_cycle(read_cycle_case(arguments.case), comm, resume, after=arguments.after)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
