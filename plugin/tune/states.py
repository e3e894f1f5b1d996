"""The case's earlier states on the grid, and what its sensors would have read of each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from da.background.snapshots import collected
from da.observation.observations import Observations
from plugin.case.configuration import Case, ConfigurationError
from plugin.state.grid import make_grid_of
from plugin.state.transfer import Transfer, values_at, variables_of
from plugin.tune.network import Network, make_network, reporting
from plugin.window.background.of_case import close_all, columns_of, plan_of, states_of

_PLACES = 23  # stream of random numbers


@dataclass(frozen=True)
class TuningStates:
    """Earlier states, run after run in time.

    transfer : Transfer
    rows : (n_local, S) this rank's rows on the grid, in the variables' units
    times : (S,) [s]
    network : Network of the sensors
    read : (M, S) what the rows of H would read of each state on its mesh, without error
    scored : (k_local,) this rank's rows at places where analyses are scored, whole points
    far : (k_local,) bool, those in the half of the places that is farther from all sensors
    """

    transfer: Transfer
    rows: np.ndarray
    times: np.ndarray
    network: Network
    read: np.ndarray
    scored: np.ndarray
    far: np.ndarray

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that are analysed."""
        return self.transfer.field_names

    @property
    def observed(self) -> np.ndarray:
        """Numbers of this rank's rows that H uses."""
        grid, v, columns = self.transfer.grid, len(self.transfer.variables), self.network.columns
        rows = grid.rows(self.transfer.comm)
        return columns[(columns >= v * rows.start) & (columns < v * rows.stop)] - v * rows.start

    @property
    def field_of_row(self) -> np.ndarray:
        """(k_local,) number of the field that each scored row is of."""
        of = np.array([self.fields.index(v.field) for v in self.transfer.variables])
        return of[self.scored % len(of)]


def read_states(
    case: Case, comm: MPI.Comm, places: int, cache: Path | None = None, said: Callable[[str], None] = lambda text: None
) -> TuningStates:
    """Read what a case is tuned with. Collective.

    Parameters
    ----------
    case : Case with observations
    comm : MPI communicator
    places : points at which analyses are scored at most; of more in the air so many are drawn, with a seed
    cache : folder that keeps interpolations, or None
    said : function of a text

    Raises
    ------
    ConfigurationError, ReadingsError, FileError, MeshError
        if states or readings cannot be used
    """
    readings = reporting(case, comm, said)
    plan = plan_of(case.background.snapshots, comm)
    times = np.array([float(series.times[step]) for series, step in plan])
    states = states_of(case, plan)
    first = next(states)
    mesh = next(iter(first.fields.values())).mesh
    transfer = Transfer(make_grid_of(case, mesh, comm, cache), variables_of(case.variables, first), comm, cache)
    network = make_network(case, readings, first, transfer, comm)
    at_readings: list[np.ndarray] = []

    def read(state):
        at_readings.append(values_at(state, transfer, network.readings.position, network.readings.variable)[0])
        return state

    columns = columns_of(transfer, read(first), map(read, states), plan, said)
    rows = collected(columns, transfer.n_local, len(plan), case.background.scratch)
    close_all(plan)
    scored, far = _places(transfer, network.readings, places, comm)
    return TuningStates(transfer, rows, times, network, network.mean @ np.array(at_readings).T, scored, far)


def _places(transfer: Transfer, readings: Observations, most: int, comm: MPI.Comm) -> tuple[np.ndarray, np.ndarray]:
    """This rank's rows of the places where analyses are scored, and which are far from the sensors. Collective."""
    if most < 2:
        raise ConfigurationError(f"--places {most}, expected two or more")
    points = np.flatnonzero(transfer.grid.fluid_points)
    if len(points) > most:
        points = np.sort(np.random.default_rng(_PLACES).choice(points, most, replace=False))
    rows, v = transfer.grid.rows(comm), len(transfer.variables)
    mine = points[(points >= rows.start) & (points < rows.stop)] - rows.start
    place = transfer.grid.places(comm)[mine]
    nearest = np.full(len(mine), np.inf)
    for position in np.unique(readings.position, axis=0):
        nearest = np.minimum(nearest, np.linalg.norm(place - position, axis=1))
    far = nearest > np.median(np.concatenate(comm.allgather(nearest)))
    return (mine[:, None] * v + np.arange(v)).ravel(), np.repeat(far, v)
