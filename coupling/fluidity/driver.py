"""The driver of Fluidity, and of the embedded model, which takes and leaves the same files."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree
from mpi4py import MPI

from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import (
    FluidityRestart,
    check_unread,
    open_restart,
    read_fields,
    write_restart,
    wrong_processes,
)
from coupling.fluidity.nodes import same_time
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.mesh import Field
from coupling.simulation.endings import NEAR, end_of_logs, forecast_left, is_ahead
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import Ended, ModelError, launch, launcher_words, package_environment
from coupling.simulation.simulation import Simulation
from coupling.vtk.vtu import dump_time

# Fluidity tries to import its own Python package and goes on without it; every run says so where PYTHONPATH lacks it
_USUAL = re.compile(
    r"^(Traceback \(most recent call last\):\n([ \t].*\n)*)?\w*Error: No module named '?fluidity\b.*(\n|\Z)",
    re.MULTILINE,
)
FluidityForecast = Forecast[FluidityRestart]

_LOGS = ("fluidity.err-*", "launch.log", "fluidity.log-*")


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

    @property
    def simulation(self) -> Simulation[FluidityRestart]:
        """See :class:`ForecastModel`."""
        return FLUIDITY

    def command(self, options: str) -> list[str]:
        """The words that start the model; in serial the launcher is left out."""
        launcher = launcher_words(self.launcher, self.processes) if self.processes > 1 else []
        return [*launcher, *self.program, "-l", options]

    def run(self, start: FluidityRestart, until: float, folder: Path, comm: MPI.Comm) -> FluidityForecast:
        """See :class:`ForecastModel`."""
        folder = Path(folder).absolute()
        if problem := wrong_processes(start, self.processes):
            raise ModelError(problem)
        if not is_ahead(until, start.time, start.timestep):
            raise ModelError(
                f"asked to run until {until:g} s from {start.options}, which is at {start.time:g} s already"
            )
        name = run_name(start.name)
        ready = write_restart(start, folder, comm, edit=lambda tree: _until(tree, name, until - NEAR * start.timestep))
        words = self.command(ready.options.name)
        ended = launch(words, folder, comm, self.timeout, self.environment, silence=self.silence)
        return _result(ended, start, until, folder, comm)


def embedded_model(**settings: Any) -> FluidityModel:
    """The driver of the model that comes with this package (`python -m coupling.embedded`)."""
    environment = package_environment(settings.pop("environment", {}))
    return FluidityModel(program=(sys.executable, "-m", "coupling.embedded"), environment=environment, **settings)


def run_name(name: str) -> str:
    """A simulation's own name, without the suffix that each restart adds."""
    while name.endswith("_checkpoint"):
        name = name.removesuffix("_checkpoint")
    return name


# what a run of ours needs otherwise than the user's options have it, and what they get back when it has ended
_OURS = ("timestepping/finish_time", "io/checkpointing", "io/disable_dump_at_end")


def _until(tree: etree._ElementTree, name: str, finish: float) -> None:
    """Set what a run of ours needs: its name, its end [s], and one checkpoint, at the end."""
    flml.set_option(tree, "simulation_name", name)
    flml.set_option(tree, "timestepping/finish_time", float(finish))
    flml.remove_option(tree, "io/disable_dump_at_end")
    flml.remove_option(tree, "io/checkpointing/checkpoint_at_start")
    # at its end only: the period, which must be given, is made longer than any run
    flml.set_option(tree, "io/checkpointing/checkpoint_period_in_dumps", 1_000_000_000)
    flml.set_flag(tree, "io/checkpointing/checkpoint_at_end")


def _give_back(options: Path, start: FluidityRestart, until: float) -> None:
    """Set the options of a checkpoint that a run of ours left as the user's own have them.

    A run that is started from it, or from an analysis of it, goes on as theirs would. If their end has passed, it goes
    on for as long as the run of ours did.
    """
    tree, own = flml.read_options(options), flml.read_options(start.options)
    for path in _OURS:
        flml.copy_option(own, tree, path)
    finish = flml.option(tree, "timestepping/finish_time", float, start.options)
    time = flml.required(tree, "timestepping/current_time", float, options)
    if finish is None or not is_ahead(finish, time, start.timestep):
        flml.set_option(tree, "timestepping/finish_time", time + until - start.time)
    flml.write_options(tree, options)


def _result(ended: Ended, start: FluidityRestart, until: float, folder: Path, comm: MPI.Comm) -> FluidityForecast:
    """The forecast a run left, if it is a good one. Collective."""

    def logs() -> str:
        return end_of_logs(folder, _LOGS, errors="fluidity.err", usual=_USUAL)

    def fields(restart: FluidityRestart) -> Mapping[str, Field]:
        read = read_fields(restart, comm).fields
        check_unread(restart, read, comm)
        return read

    return forecast_left(
        ended, start, until, folder, comm, lambda: _last_files(start, until, folder, logs), fields, logs
    )


def _last_files(
    start: FluidityRestart, until: float, folder: Path, logs: Callable[[], str]
) -> tuple[FluidityRestart, float]:
    """The last checkpoint of a run, and the time of the dump beside it [s]."""
    name = run_name(start.name)
    matches = [re.fullmatch(rf"{re.escape(name)}_(\d+)\.p?vtu", path.name) for path in folder.iterdir()]
    dumps = {int(match[1]): folder / match[0] for match in matches if match}
    if not dumps:
        raise ModelError(f"the model ended well but wrote no dump {name}_*.vtu or .pvtu in {folder}{logs()}")
    last = max(dumps)
    options = folder / f"{name}_{last}_checkpoint.flml"
    if not options.is_file():
        raise ModelError(f"the model ended well but wrote no {options.name} beside {dumps[last].name}{logs()}")
    _give_back(options, start, until)
    restart, time = open_restart(options), dump_time(dumps[last])
    if not same_time(restart, time):
        raise ModelError(
            f"the model ended well but {options.name} is of {restart.time:.15g} s, {dumps[last].name} beside it of "
            f"{time:.15g} s; expected one time{logs()}"
        )
    return restart, time
