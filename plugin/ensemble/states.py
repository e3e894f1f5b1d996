"""Members as columns: one for each member on the grid, and one at the readings. No rank holds a whole state of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import State
from coupling.simulation.simulation import Simulation
from da.observation.observations import Observations
from plugin.ensemble.forecasts import MemberForecast
from plugin.state.fgat import first_guess
from plugin.state.transfer import Transfer, values_at


@dataclass(frozen=True)
class Columns:
    """K members side by side.

    state : (n_local, K) on the grid, of transformed values where a variable has an anamorphosis
    values : (M, K) at the readings, in their units; complete on every rank
    inside : (M,) bool, false where a sensor is outside the air of a member
    in_time : (M,) bool, false where the dumps of a member do not reach
    """

    state: np.ndarray
    values: np.ndarray
    inside: np.ndarray
    in_time: np.ndarray

    def combined(self, weights: np.ndarray) -> "Columns":
        """Linear combinations of the members: (K, N) weights, of which each column sums to one."""
        return Columns(self.state @ weights, self.values @ weights, self.inside, self.in_time)


def column_of(state: State, transfer: Transfer) -> np.ndarray:
    """(n_local,) a state on the grid as analyses take it. Collective."""
    column = transfer.to_grid(state)
    width = len(transfer.variables)
    for number, variable in enumerate(transfer.variables):
        if (form := transfer.anamorphoses.get(variable.name)) is not None:
            column[number::width] = form.forward(column[number::width])
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
    k = len(forecasts)
    columns, values = np.empty((transfer.n_local, k)), np.zeros((len(readings), k))
    inside, in_time = np.ones(len(readings), bool), np.ones(len(readings), bool)
    for number, forecast in enumerate(forecasts):
        state = forecast_state(forecast, transfer, simulation, comm)
        columns[:, number] = column_of(state, transfer)
        if len(readings) == 0:
            continue
        if own_times is None:
            values[:, number], within = values_at(state, transfer, readings.position, readings.variable)
        else:
            with simulation.open_series(forecast.folder, comm) as dumps:
                guess = first_guess(dumps, transfer, readings, own_times, slack)
            values[:, number], within = np.nan_to_num(guess.value), guess.inside
            in_time &= guess.in_time
        inside &= within
    return Columns(columns, values, inside, in_time)
