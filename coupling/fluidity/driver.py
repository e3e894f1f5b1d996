"""Drivers of models that keep Fluidity's contract: they differ only in the program they start, Fluidity or the embedded model."""

import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import n_processes, open_restart, read_fields, write_restart
from coupling.geometry.mesh import MeshError, State
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import ModelError, launch, package_environment
from coupling.vtk.vtu import dump_time

_TAIL = 15  # lines of the model's log that an error shows
# Times this near, in time steps, are the same: a sum of steps drifts, and just short of its end a run makes one more
_NEAR = 1e-3


@dataclass(frozen=True)
class FluidityModel:
    """Fluidity, or a program that takes and leaves the same files.

    program : the command, without the options file
    processes : MPI processes of the model
    launcher : words before the program; `{n}` becomes `processes`
    timeout : s per run; None waits for ever
    silence : s without a change of any file in the run's folder, after which it is stopped; None waits for ever
    environment : {name: value} that the program needs, e.g. PYTHONPATH
    """

    program: tuple[str, ...] = ("fluidity",)
    processes: int = 1
    launcher: tuple[str, ...] = ("mpirun", "-n", "{n}")
    timeout: float | None = None
    silence: float | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, options):
        """The words that start the model; in serial the launcher is left out."""
        launcher = [word.replace("{n}", str(self.processes)) for word in self.launcher] if self.processes > 1 else []
        return [*launcher, *self.program, "-l", options]

    def run(self, start, until, folder, comm):
        """See :class:`ForecastModel`."""
        folder = Path(folder).absolute()
        if problem := wrong_processes(start, self.processes):
            raise ModelError(problem)
        if not until - start.time > _NEAR * start.timestep:
            raise ModelError(
                f"asked to run until {until:g} s from {start.options}, which is at {start.time:g} s already"
            )
        name = run_name(start.name)
        ready = write_restart(start, folder, comm, edit=lambda tree: _until(tree, name, until - _NEAR * start.timestep))
        limits = {"timeout": self.timeout, "silence": self.silence}
        ended = launch(self.command(ready.options.name), folder, comm, environment=self.environment, **limits)
        return _result(ended, start, until, folder, comm)


def wrong_processes(start, processes):
    """Why a restart cannot be run on so many processes, None if it can.

    FileError if one of its files is missing or broken
    """
    if (found := n_processes(start)) == processes:
        return None
    return (
        f"{start.options}: made for {found} processes, the model is to run on {processes}; decompose the mesh for that "
        "number (fldecomp, flredecomp) or change model.processes"
    )


def embedded_model(**settings):
    """The driver of the model that comes with this package (`python -m coupling.embedded`)."""
    environment = package_environment(settings.pop("environment", {}))
    return FluidityModel(program=(sys.executable, "-m", "coupling.embedded"), environment=environment, **settings)


def run_name(name):
    """A simulation's own name, without what restarts hang on to it."""
    while name.endswith("_checkpoint"):
        name = name.removesuffix("_checkpoint")
    return name


def _until(tree, name, finish):
    """Set what a run of ours needs: its name, its end [s], and one checkpoint, at the end."""
    flml.set_option(tree, "simulation_name", name)
    flml.set_option(tree, "timestepping/finish_time", float(finish))
    flml.remove_option(tree, "io/disable_dump_at_end")
    flml.remove_option(tree, "io/checkpointing/checkpoint_at_start")
    # at its end only: the period, which must be given, is made longer than any run
    flml.set_option(tree, "io/checkpointing/checkpoint_period_in_dumps", 1_000_000_000)
    flml.set_flag(tree, "io/checkpointing/checkpoint_at_end")


def _result(ended, start, until, folder, comm):
    """The forecast a run left, if it is a good one. Collective."""
    arrived, problem = None, None
    if comm.rank == 0:
        try:
            arrived = _arrived(ended, start, until, folder)
        except (ModelError, FileError) as error:
            problem = error
    try:
        raise_together(problem, comm)
        restart, time = comm.bcast(arrived)
        fields = read_fields(restart, comm).fields
    except (FileError, MeshError) as error:
        raise ModelError(f"the model ended well but what it left cannot be used: {error}{_logs(folder)}") from error
    for field_name, of in fields.items():
        broken = comm.allreduce(int(np.size(of.values) - np.isfinite(of.values).sum()))
        if broken:
            raise ModelError(f"the model ended well but {broken} values of {field_name} are not finite{_logs(folder)}")
    return Forecast(restart, State(time, fields), folder, ended.seconds)


def _arrived(ended, start, until, folder):
    """(restart, time) of a run that ended well, by its exit code, its files and their time."""
    if ended.stopped is not None:
        raise ModelError(f"the model was stopped {ended.stopped}{_logs(folder)}")
    if ended.code != 0:
        raise ModelError(f"the model ended with {_told_code(ended.code)}{_logs(folder)}")
    name = run_name(start.name)
    numbers = [re.fullmatch(rf"{re.escape(name)}_(\d+)\.p?vtu", path.name) for path in folder.iterdir()]
    found = {int(match[1]): folder / match[0] for match in numbers if match}
    if not found:
        raise ModelError(f"the model ended well but wrote no dump {name}_*.vtu or .pvtu in {folder}{_logs(folder)}")
    last = max(found)
    options = folder / f"{name}_{last}_checkpoint.flml"
    if not options.is_file():
        raise ModelError(f"the model ended well but wrote no {options.name} beside {found[last].name}{_logs(folder)}")
    restart, time = open_restart(options), dump_time(found[last])
    # a step may carry the model past the end it was given, by less than one step
    step = max(start.timestep, restart.timestep)
    if not until - _NEAR * step <= time < until + step:
        raise ModelError(f"the model stopped at {time:g} s, {until:g} s was asked for{_logs(folder)}")
    return restart, time


def _told_code(code):
    """An exit code in words; launchers and shells tell of a signal by adding 128 to it."""
    number = -code if code < 0 else code - 128
    try:
        by = f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"exit code {code}"
    return by if code < 0 else f"exit code {code}, as after {by}"


def _logs(folder):
    """The end of what the model said, for an error message: of a log that tells an error, if one does."""
    said = []
    for pattern in ("fluidity.err-*", "launch.log", "fluidity.log-*"):
        for path in sorted(folder.glob(pattern)):
            text = path.read_text(errors="replace").rstrip()
            if text:
                said.append((path, text))
    if not said:
        return f"; its logs in {folder} are empty"
    path, text = next(((p, t) for p, t in said if "ERROR" in t and p.name.startswith("fluidity.err")), said[0])
    return f"\n  end of {path}:\n" + "\n".join(f"    {line}" for line in text.splitlines()[-_TAIL:])
