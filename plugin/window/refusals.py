"""What a cycle refuses before its first window, and a restart that no forecast can go on from."""

import math
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.simulation.simulation import Restart, Simulation
from da.observation.observations import Observations
from plugin.case.configuration import ConfigurationError, CycleCase, ModelSection
from plugin.case.variables import field_of
from plugin.readings import ReadingsError
from plugin.readings.of_case import readings_of
from plugin.run.drivers import simulation_of
from plugin.state.transfer import Transfer


def checked_start(case: CycleCase, comm: MPI.Comm, say: Callable[[str], None]) -> tuple[Restart, Observations]:
    """What a run starts from and all its readings, if they and the model's processes fit each other. Collective.

    Raises
    ------
    ConfigurationError, ReadingsError, FileError, MeshError
        as the case, the readings and the start's files give reason to
    """
    simulation = simulation_of(case.model)
    first = simulation.open_restart(case.model.start)
    if problem := simulation.refusal({field_of(name) for name in case.variables}):
        raise ConfigurationError(f"variables: {problem}")
    if problem := wrong_step(first):
        raise ConfigurationError(f"model.start: {problem}")
    readings = on_rank_0(lambda: readings_of(case, say), comm)
    check_times(readings, first, case)
    on_rank_0(lambda: check_processes(first, case.model, simulation), comm)
    if doubt := on_rank_0(lambda: simulation.doubtful_processes(first, case.model.processes), comm):
        say(f"{doubt.text}; {doubt.advice}")
    simulation.check_start(first, comm)
    return first, readings


def check_times(readings: Observations, first: Restart, case: CycleCase) -> None:
    """Refuse readings that are all of other times than the run: most often their epoch is wrong."""
    began, end = first.time, first.time + case.cycle.windows * case.cycle.window
    near = case.observations.tolerance or first.timestep
    if len(readings) and not ((readings.time >= began - near) & (readings.time <= end + near)).any():
        raise ReadingsError(
            f"{case.observations.file}: none of the {len(readings)} readings, of {readings.time.min():g} to "
            f"{readings.time.max():g} s, is of a window of this run, {began:g} to {end:g} s; see observations.epoch, "
            "or give a file of this time"
        )


def wrong_step(restart: Restart) -> str | None:
    """Why no forecast can go on from a restart's time and time step, None if one can."""
    if not math.isfinite(restart.time):
        return f"{restart.path}: its time is {restart.time:g} s, expected a number"
    if not (math.isfinite(restart.timestep) and restart.timestep > 0.0):
        return f"{restart.path}: its time step is {restart.timestep:g} s, expected a positive number"
    return None


def check_processes(first: Restart, settings: ModelSection, simulation: Simulation) -> None:
    """ConfigurationError if the model cannot start on as many processes as the case gives it."""
    if problem := simulation.wrong_processes(first, settings.processes):
        raise ConfigurationError(problem)


def check_variables(readings: Observations, transfer: Transfer, path: Path) -> None:
    """ReadingsError that names the first reading of what is not analysed."""
    known, readable = [v.name for v in transfer.variables], transfer.readable
    for name, time in zip(readings.variable, readings.time, strict=True):
        if name not in readable:
            raise ReadingsError(
                f"{path}: reading of {str(name)!r} at {time:g} s, which is not analysed; variables are {known}"
            )
