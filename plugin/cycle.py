"""The forecast–assimilate loop: mpirun -n N python -m plugin.cycle case.yml

For each window the model runs, its state is compared with the readings, the analysis is found, and
the restart is written from which the model goes on. What a window did is told in the ledger, once
all its files are on the disk; `--resume` goes on after the last window told there.

    RUN/case.json            the settings of this run
    RUN/ledger.jsonl         one line per finished window
    RUN/0001/forecast/       what the model started from and wrote: dumps, checkpoint, logs
    RUN/0001/analysis/       the restart of the next window
    RUN/0001/readings.csv    each reading with innovation and residual, or why it was left out
    RUN/0001/posterior.*     standard deviations of background and analysis, if `diagnostics` asks for them
    RUN/cache/               interpolations between mesh and grid
"""

import argparse
import json
import os
import shutil
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from mpi4py import MPI

from coupling.checkpoint import open_restart, write_restart
from coupling.files import on_rank_0, whole_file
from coupling.forecast import FluidityModel, embedded_model
from coupling.series import open_series
from da.quality import Flag
from plugin.assimilate import assimilate, write_table
from plugin.background import background
from plugin.configuration import Case, ConfigurationError, read_case
from plugin.diagnostics import diagnose
from plugin.job import read_words, run_job
from plugin.ledger import append_entry, read_ledger
from plugin.observation_sections import ANALYSIS_TIME
from plugin.progress import Progress
from plugin.readings import ReadingsError
from plugin.run_settings import first_difference, readings_of, settings_of
from plugin.treatment import treated, window_of

_SAME = 1e-3  # times this near, in time steps, are the same: the model's drift, and its options are rounded


def forecast_model(settings):
    """The driver a case file's `model` section asks for."""
    common = {
        "processes": settings.processes,
        "launcher": tuple(settings.launcher),
        "timeout": settings.timeout,
        "environment": dict(settings.environment),
    }
    if settings.driver == "embedded":
        return embedded_model(**common)
    return FluidityModel(program=tuple(settings.program), **common)


def run_cycle(case, comm, resume=False, progress=None):
    """Run all windows of a case. Collective.

    Parameters
    ----------
    case : Case
    comm : MPI communicator
    resume : go on after the last finished window of the run folder
    progress : Progress that tells of it; None makes one

    Raises
    ------
    ConfigurationError
        if the run folder holds another run, `resume` finds nothing that fits, or the background cannot be had
    ReadingsError, LedgerError, FileError, MeshError, ModelError, MinimisationError, OSError
        as the stages raise them; finished windows stay as they are
    """
    progress = progress or Progress(comm)
    last, done = on_rank_0(lambda: _find_run(case, resume), comm)
    start, began = open_restart(last), open_restart(case.model.start).time
    model = forecast_model(case.model)
    readings = on_rank_0(lambda: readings_of(case), comm)
    biases = on_rank_0(lambda: _biases(case.run, done), comm)
    with progress.stage("background"):
        statistics = background(case, comm, case.run / "cache", progress.say)
    _check_variables(readings, statistics.transfer, case.observations.file)
    progress.say(_told_background(statistics, readings, progress))
    on_rank_0(lambda: _begin_run(case, resume, done), comm)  # only now, so that a mistake in the case leaves no run
    for number in range(done + 1, case.cycle.windows + 1):
        until = began + number * case.cycle.window
        start, biases = _window(number, start, until, case, model, readings, biases, statistics, comm, progress)
    progress.say(f"{case.cycle.windows} windows done; ledger: {case.run / 'ledger.jsonl'}")


def _window(number, start, until, case, model, readings, biases, statistics, comm, progress):
    """Forecast, analysis, restart, ledger. Returns the next window's restart and the stations' biases."""
    folder = case.run / f"{number:04d}"
    on_rank_0(folder.mkdir, comm)
    label = f"window {number} of {case.cycle.windows}"
    with progress.stage("forecast", f"{label}: forecast to {until:g} s"):
        forecast = model.run(start, until, folder / "forecast", comm)
    time = forecast.state.time
    with progress.stage("analysis", f"{label}: analysis"):
        usable, treatment = _treated(readings, biases, start.time, forecast, case.observations, statistics, comm)
        found = assimilate(statistics, forecast.state, usable, comm, case.minimiser, treatment)
    asked = case.diagnostics.influence or case.diagnostics.posterior  # the others cost nothing to speak of
    with progress.stage("diagnostics", f"{label}: diagnostics") if asked else nullcontext():
        told = diagnose(found, statistics, forecast.state, case.diagnostics, folder, comm)
    with progress.stage("restart", f"{label}: writing the restart"):
        restart = write_restart(forecast.restart, folder / "analysis", comm, found.changes)
    entry = _entry(number, time, forecast, restart, usable, found, case, progress)
    entry.get("analysis", {}).update(told)
    on_rank_0(lambda: _keep(case.run, folder, entry, found), comm)
    progress.say(_told_window(label, entry))
    return restart, found.biases


def _treated(readings, biases, began, forecast, settings, statistics, comm):
    """The readings of a window, and how they are treated. Collective."""
    end, step = forecast.state.time, forecast.restart.timestep
    in_time = window_of(readings, began, end, settings, 0.5 * step, _SAME * step)
    # the dumps are looked into for times within the window only
    within = settings.window != ANALYSIS_TIME and in_time.any()
    with open_series(forecast.folder, comm) if within else nullcontext() as dumps:
        return treated(readings, in_time, end, settings, statistics.transfer, dumps, _SAME * step, biases=biases)


def _biases(run, done):
    """Biases of stations as the last finished window left them."""
    return read_ledger(run / "ledger.jsonl")[done - 1].get("biases", {}) if done else {}


def _keep(run, folder, entry, found):
    write_table(folder / "readings.csv", found.table)
    append_entry(run / "ledger.jsonl", entry)


def _entry(number, time, forecast, restart, usable, found, case, progress):
    entry = {
        "window": number,
        "time": time,
        "readings": len(usable),
        "used": sum(row["used"] == "yes" for row in found.table),
        "left_out": dict(Counter(row["used"].removeprefix("no: ") for row in found.table if row["used"] != "yes")),
        "restart": str(restart.options.relative_to(case.run)),
        "forecast": str(forecast.restart.options.relative_to(case.run)),
        "seconds": {name: round(s, 4) for name, s in progress.seconds.items() if name != "background"},
        "model_seconds": round(forecast.seconds, 4),
    }
    if found.biases:
        entry["biases"] = found.biases
    if found.analysis:
        entry["analysis"] = found.analysis.summary()
    if found.network:
        entry["network"] = found.network.summary()
    return entry


def _told_background(statistics, readings, progress):
    modes = statistics.modes
    return (
        f"background errors: {modes.n_modes} modes ({modes.name}) of {modes.n_samples} states, "
        f"{statistics.transfer.grid}, variables "
        f"{', '.join(v.name for v in statistics.transfer.variables)}; {len(readings)} readings; "
        f"{progress.seconds['background']:.1f} s"
    )


def _told_window(label, entry):
    times = "  ".join(f"{name} {s:.2f} s" for name, s in entry["seconds"].items())
    if "analysis" not in entry:
        reasons = entry.get("left_out", {})
        why = "no readings of this time" if not entry["readings"] else "no reading inside the model's air"
        if set(reasons) - {Flag.OUTSIDE.text}:
            why = "no reading is used (" + ", ".join(f"{n} {reason}" for reason, n in reasons.items()) + ")"
        return f"{label}: t = {entry['time']:g} s  {why}, the forecast goes on as it is  {times}"
    a, by = entry["analysis"], entry.get("network", {})
    instead = f"  by TSVD, not by the network: {by['reason']}" if "reason" in by else ""
    return (
        f"{label}: t = {entry['time']:g} s  {entry['used']} of {entry['readings']} readings  "
        f"J {a['cost_initial']:.4g} → {a['cost']:.4g} in {a['iterations']} iterations  "
        f"rms innovation {a['innovation']['rms']:.3g} → residual {a['residual']['rms']:.3g}  {times}{instead}"
    )


def _check_variables(readings, transfer, path):
    known, readable = [v.name for v in transfer.variables], transfer.readable
    for name, time in zip(readings.variable, readings.time):
        if name not in readable:
            raise ReadingsError(
                f"{path}: reading of {str(name)!r} at {time:g} s, which is not analysed; variables are {known}"
            )


def _find_run(case, resume):
    """Where to go on: (options of the restart, number of windows done). Nothing is written."""
    kept = case.run / "case.json"
    if not resume:
        if kept.exists():
            raise ConfigurationError(
                f"{case.run}: holds a run already; go on with it by --resume, or choose another folder (key 'run')"
            )
        return case.model.start, 0
    if not kept.is_file():
        raise ConfigurationError(f"{case.run}: no run to resume, case.json is missing; start without --resume")
    entries = read_ledger(case.run / "ledger.jsonl")
    if not entries:  # nothing yet that other settings would contradict
        return case.model.start, 0
    now, earlier = _lasting(settings_of(case)), _lasting(json.loads(kept.read_text()))
    different = first_difference(now, earlier)
    if different:
        raise ConfigurationError(
            f"{kept}: the run was started with another {different!r} section ({earlier.get(different)}); "
            "resume with the same settings, or start a new run folder"
        )
    return case.run / entries[-1]["restart"], len(entries)


def _lasting(settings):
    """What a run keeps: it may be made longer, its model be given more time, and more or less be told of it."""
    changeable = {"cycle": "windows", "model": "timeout"}
    others = ("diagnostics", "reanalysis", "experiment")
    settings = {name: section for name, section in settings.items() if name not in others}
    return {
        name: {key: value for key, value in section.items() if key != changeable[name]}
        if name in changeable
        else section
        for name, section in settings.items()
    }


def _begin_run(case, resume, done):
    """Keep the settings, and clear away the window that was not finished."""
    case.run.mkdir(parents=True, exist_ok=True)
    with whole_file(case.run / "case.json") as beside:
        beside.write_text(json.dumps(settings_of(case), indent=2))
    for folder in sorted(case.run.iterdir()) if resume else ():
        if folder.name.isdecimal() and int(folder.name) > done:
            aside = folder.with_name(f".{folder.name}.unfinished")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(folder, aside)  # a model that outlived its cycle may still write there
            shutil.rmtree(aside, ignore_errors=True)


def main(argv, comm):
    """Command line of the cycle; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.cycle", description="Run the forecast–assimilate loop.")
    parser.add_argument("case", nargs="?", type=Path, help="case file (YAML)")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished window")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of case files and end")
    arguments = read_words(parser, argv, comm)
    if arguments.schema:
        if comm.rank == 0:
            print(json.dumps(Case.model_json_schema(), indent=2))
        return 0
    if arguments.case is None:
        raise ConfigurationError("no case file is named; python -m plugin.cycle case.yml, or --schema to see its keys")
    run_cycle(read_case(arguments.case), comm, arguments.resume)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
