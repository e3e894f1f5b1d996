"""A case as its first window begins: modes, a state, and the first readings."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.geometry.mesh import State
from da.observation.error import ObservationError
from da.observation.observations import Observations
from da.observation.operator import ObservationOperator
from plugin.case.configuration import CycleCase
from plugin.readings import ReadingsError
from plugin.readings.of_case import readings_of
from plugin.run.drivers import simulation_of
from plugin.window.background.of_case import Background, background, steps_of_entry
from plugin.window.background.snapshots import open_snapshots
from plugin.window.observations.errors import with_errors
from plugin.window.observations.operator import ReadingOperator, error_covariance, make_operator
from plugin.window.observations.selection import belongs_to_window

N_READINGS = 300  # more of them would make a dense solve slow
_SEED = 20


@dataclass(frozen=True)
class SetUp:
    """What an analysis is made of.

    background : Background
    state : State, and `source`, where it is from
    readings : Observations inside the model's air that an analysis may use
    reading_operator : ReadingOperator of them
    error : ObservationError
    innovation : (M_local,) in the readings' units
    """

    background: Background
    state: State
    source: str
    readings: Observations
    reading_operator: ReadingOperator
    error: ObservationError
    innovation: np.ndarray

    @property
    def operator(self) -> ObservationOperator:
        """H as a linear operator, taken at the background."""
        operator = self.reading_operator.operator
        return operator if operator.linear else operator.linearised(np.zeros(self.background.transfer.n_local))


def set_up(case: CycleCase, comm: MPI.Comm, said: Callable[[str], None] = lambda text: None) -> SetUp:
    """Modes, state and readings of a case's start. Collective.

    Parameters
    ----------
    case : CycleCase
    comm : MPI communicator
    said : as in `plugin.window.background.of_case.background`

    Returns
    -------
    SetUp

    Raises
    ------
    ConfigurationError, ReadingsError, FileError, MeshError
        as the cycle's stages; if no reading lies inside the model's air
    """
    of = case.observations
    simulation = simulation_of(case.model)
    restart = simulation.open_restart(case.model.start)
    readings = on_rank_0(lambda: readings_of(case, said), comm)
    made = background(case, comm, case.run / "cache", said)
    state, source = _state(case, restart, simulation, made.transfer, comm)
    state = made.transfer.within_bounds(state)
    window = _first_window(readings, case, restart)
    window = with_errors(window, of.error_model)
    at_readings = made.transfer.at_readings(state, window.position, window.variable)
    reading_operator, _ = make_operator(made.transfer, at_readings, window)
    numbers = np.flatnonzero(reading_operator.inside & ~np.isin(window.station, of.withheld))
    if len(numbers) == 0:
        raise ReadingsError(f"{of.file}: no reading lies inside the model's air; there is nothing to check H with")
    if len(numbers) > N_READINGS:
        numbers = np.sort(np.random.default_rng(_SEED).choice(numbers, N_READINGS, replace=False))
    chosen = window.select(numbers)
    reading_operator, model = make_operator(made.transfer, at_readings.select(numbers), chosen)
    error = error_covariance(chosen, numbers, of.error_model, reading_operator, len(window), comm)
    return SetUp(made, state, source, chosen, reading_operator, error, (chosen.value - model)[reading_operator.reading])


def _state(case, restart, simulation, transfer, comm):
    """The state that the case starts from; where that is none in files, a snapshot."""
    if set(transfer.field_names) <= set(restart.fields):
        return simulation.read_fields(restart, comm, transfer.field_names), str(restart.path)
    settings = case.background.snapshots[0]
    several = open_snapshots(settings, comm)
    # the last one: the first often is a model at rest, which would check little
    series, step = steps_of_entry(settings, several)[-1]
    state = series.read(step, sorted(transfer.field_names))
    for one in several:
        one.close()
    return state, f"{settings.path} at {state.time:g} s"


def _first_window(readings, case, restart):
    """Readings of the first window that has any; all of them where none has."""
    of, step = case.observations, restart.timestep
    for number in range(1, case.cycle.windows + 1):
        end = restart.time + number * case.cycle.window
        in_time = belongs_to_window(readings, end - case.cycle.window, end, of, 0.5 * step, 0.0)
        if in_time.any():
            return readings.select(in_time)
    return readings
