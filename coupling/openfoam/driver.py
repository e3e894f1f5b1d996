"""The driver of OpenFOAM: it runs a case's solver from one time to another, in a copy of the case."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.text import end_of_file, lines_of
from coupling.geometry.mesh import Field
from coupling.openfoam.checkpoint import check_unread, open_restart, read_fields, write_restart, wrong_processes
from coupling.openfoam.controls import controls_of, set_back, set_run
from coupling.openfoam.installation import with_home
from coupling.openfoam.restart import OpenFoamRestart
from coupling.openfoam.simulation import OPENFOAM
from coupling.simulation.endings import end_of_logs, forecast_left, is_ahead
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import Ended, ModelError, launch, launcher_words
from coupling.simulation.simulation import Simulation

_FATAL = re.compile(r"^.*--> FOAM FATAL .*", re.MULTILINE)
_SHOWN = 15  # lines of an error

OpenFoamForecast = Forecast[OpenFoamRestart]


@dataclass(frozen=True)
class OpenFoamModel:
    """A solver of OpenFOAM.

    program : the command; that of the case's controlDict if left out
    processes : MPI processes of the solver; above 1 the case is cut by decomposePar beforehand
    launcher : words before the program; `{n}` becomes `processes`
    timeout : s per run; None waits for ever
    silence : s without a change of any file in the run's folder, after which it is stopped; None waits for ever
    environment : {name: value} that the program needs; WM_PROJECT_DIR is set where Debian's package is installed
    """

    program: tuple[str, ...] = ()
    processes: int = 1
    launcher: tuple[str, ...] = ("mpirun", "-n", "{n}")
    timeout: float | None = None
    silence: float | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def simulation(self) -> Simulation[OpenFoamRestart]:
        """See :class:`ForecastModel`."""
        return OPENFOAM

    def command(self, application: str) -> list[str]:
        """The words that start the solver; in serial the launcher and `-parallel` are left out."""
        program = self.program or (application,)
        if self.processes == 1:
            return list(program)
        return [*launcher_words(self.launcher, self.processes), *program, "-parallel"]

    def run(self, start: OpenFoamRestart, until: float, folder: Path, comm: MPI.Comm) -> OpenFoamForecast:
        """See :class:`ForecastModel`."""
        folder = Path(folder).absolute()
        if problem := wrong_processes(start, self.processes):
            raise ModelError(problem)
        if not is_ahead(until, start.time, start.timestep):
            raise ModelError(f"asked to run until {until:g} s from {start.case}, which is at {start.time:g} s already")
        plan = controls_of(start.case).plan(start.time, until, start.timestep)
        write_restart(start, folder, comm)
        on_rank_0(lambda: set_run(folder, plan), comm)
        words = self.command(start.name)
        ended = launch(words, folder, comm, self.timeout, with_home(self.environment), silence=self.silence)
        if on_rank_0(lambda: (folder / "system/controlDict").is_file(), comm):  # else `_result` tells
            on_rank_0(lambda: set_back(folder, start.case, (start.time, plan.end)), comm)
        return _result(ended, start, until, folder, comm)


def _result(ended: Ended, start: OpenFoamRestart, until: float, folder: Path, comm: MPI.Comm) -> OpenFoamForecast:
    """The forecast a run left, if it is a good one. Collective."""

    def logs() -> str:
        return _end_of_log(folder)

    def last() -> tuple[OpenFoamRestart, float]:
        restart = _last(start, folder, logs)
        return restart, restart.time

    def fields(restart: OpenFoamRestart) -> Mapping[str, Field]:
        missing = sorted(set(start.fields) - set(restart.fields))
        if missing:
            raise ModelError(
                f"the model ended well but wrote no {missing[0]} at {restart.time_name} s, which its start has: is "
                f"there a function object, or library, that OpenFOAM did not know?{logs()}"
            )
        read = read_fields(restart, comm).fields
        check_unread(restart, start, comm)
        return read

    return forecast_left(ended, start, until, folder, comm, last, fields, logs)


def _last(start, folder, logs):
    restart = open_restart(folder)
    if restart.time_name == start.time_name:
        raise ModelError(f"the model ended well but wrote no time after {start.time_name} s in {folder}{logs()}")
    if (restart.is_cut, len(restart.pieces)) != (start.is_cut, len(start.pieces)):
        left, began = (f"{len(of.pieces)} processor folders" if of.is_cut else "one piece" for of in (restart, start))
        raise ModelError(f"the model ended well but left a case in {left}, its start is in {began}: {folder}{logs()}")
    return restart


def _end_of_log(folder: Path) -> str:
    """The last lines of the solver's output, from its own error message on where there is one."""
    path = folder / "launch.log"
    text = end_of_file(path)
    fatal = _FATAL.search(text)
    if fatal is None:
        words = end_of_logs(folder, ("launch.log",), errors="launch")
        stack = "sigFpe" in text or "Floating point exception" in text
        advice = "\n  OpenFOAM met a number that is not finite: has the run become unstable (time step, maxCo)?"
        return words + (advice if stack else "")
    shown = lines_of("\n".join(text[fatal.start() :].splitlines()[:_SHOWN]), _SHOWN)
    return f"\n  in {path}:\n" + "\n".join(f"    {line}" for line in shown)
