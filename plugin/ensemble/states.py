"""Members as columns: one for each member on the grid, and one at the readings. No rank holds a whole state of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import State
from coupling.simulation.simulation import Simulation
from da.background.anamorphosis import transform
from da.observation.observations import Observations
from plugin.ensemble.forecasts import MemberForecast
from plugin.state.fgat import FirstGuess, first_guess
from plugin.state.transfer import Transfer, values_at


@dataclass(frozen=True)
class AtReadings:
    """K members at M readings; complete on every rank.

    values : (M, K) in the readings' units, zero where there is none
    inside : (M,) bool, false where a sensor is outside the air of a member
    in_time : (M,) bool, false where the dumps of a member do not reach
    """

    values: np.ndarray
    inside: np.ndarray
    in_time: np.ndarray

    def combined(self, weights: np.ndarray) -> "AtReadings":
        """As `Columns.combined`."""
        return replace(self, values=self.values @ weights)


@dataclass(frozen=True)
class Columns:
    """K members side by side.

    state : (n_local, K) on the grid, of transformed values where a variable has an anamorphosis
    seen : AtReadings
    """

    state: np.ndarray
    seen: AtReadings

    def combined(self, weights: np.ndarray) -> "Columns":
        """Linear combinations of the members: (K, N) weights, of which each column sums to one."""
        return Columns(self.state @ weights, self.seen.combined(weights))


def column_of(state: State, transfer: Transfer) -> np.ndarray:
    """(n_local,) a state on the grid as analyses take it. Collective."""
    column = transfer.to_grid(state)
    transform(column[:, None], [transfer.anamorphoses.get(v.name) for v in transfer.variables])
    return column


def forecast_state(forecast: MemberForecast, transfer: Transfer, simulation: Simulation, comm: MPI.Comm) -> State:
    """The analysed fields of a member's forecast, over all ranks. Collective."""
    fields = simulation.read_fields(forecast.restart, comm, transfer.field_names).fields
    return transfer.within_bounds(State(forecast.time, fields))


def columns_of(
    forecasts: Sequence[MemberForecast],
    readings: Observations,
    own_times: str | None,
    slack: float,
    transfer: Transfer,
    simulation: Simulation,
    comm: MPI.Comm,
) -> Columns:
    """Members on the grid and at the readings. Collective; one state is in memory at a time.

    Parameters
    ----------
    forecasts : of K members
    readings : Observations of the window
    own_times : "nearest" or "interpolate", where readings are compared with the dumps at their own times; None for the
        analysis time
    slack : times this near are the same [s]
    transfer : Transfer
    simulation : Simulation of the forecasts
    comm : MPI communicator
    """
    k, m = len(forecasts), len(readings)
    columns, values, inside = np.empty((transfer.n_local, k)), np.zeros((m, k)), np.ones(m, bool)
    for number, forecast in enumerate(forecasts):
        state = forecast_state(forecast, transfer, simulation, comm)
        columns[:, number] = column_of(state, transfer)
        if own_times is None and m:
            values[:, number], within = values_at(state, transfer, readings.position, readings.variable)
            inside &= within
    if own_times is None or m == 0:
        return Columns(columns, AtReadings(values, inside, np.ones(m, bool)))
    return Columns(columns, at_own_times(forecasts, readings, own_times, slack, transfer, simulation, comm))


def at_own_times(
    forecasts: Sequence[MemberForecast],
    readings: Observations,
    mode: str,
    slack: float,
    transfer: Transfer,
    simulation: Simulation,
    comm: MPI.Comm,
) -> AtReadings:
    """Members at readings, each at its own time. Collective; one dump is in memory at a time.

    mode : "nearest" or "interpolate", in time; others as in `columns_of`
    """
    guesses: list[FirstGuess] = []
    for forecast in forecasts:
        with simulation.open_series(forecast.folder, comm) as dumps:
            guesses.append(first_guess(dumps, transfer, readings, mode, slack))
    return AtReadings(
        np.stack([np.nan_to_num(guess.value) for guess in guesses], axis=1),
        np.all([guess.inside for guess in guesses], axis=0),
        np.all([guess.in_time for guess in guesses], axis=0),
    )
