"""Earlier states of a window, updated by the window's analysis: `ensemble.smoother`.

    RUN/0001/smoothed/mean_0.vtu, spread_0.vtu …   members' mean and spread at each dump before the analysis

What the members' dumps within the window are made of becomes what all readings of the window make of it
(`da.ensemble.smoother`). No model goes on from these states, so gates do not look at them.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.geometry.mesh import State
from coupling.simulation.simulation import Series, Simulation
from da.ensemble.ensemble import EnsembleUpdate
from da.ensemble.inflation import inflated
from da.ensemble.smoother import smoothed
from plugin.ensemble.forecasts import MemberForecast
from plugin.ensemble.moments import Moments, write_moments
from plugin.ensemble.states import column_of
from plugin.state.transfer import Transfer


def write_smoothed(
    update: EnsembleUpdate,
    factor: np.ndarray | float,
    forecasts: Sequence[MemberForecast],
    slack: float,
    folder: Path,
    transfer: Transfer,
    simulation: Simulation,
    comm: MPI.Comm,
) -> list[float]:
    """Write mean and spread of the members at the dumps before the analysis. Collective; one state is in memory.

    Parameters
    ----------
    update : EnsembleUpdate of the analysis
    factor : of the members' anomalies before the analysis, one or (n_local,)
    forecasts : of all members
    slack : times this near are the same [s]
    folder : to write to, which is made
    transfer : Transfer
    simulation : Simulation of the forecasts
    comm : MPI communicator

    Returns
    -------
    times of the dumps that all members have [s]; there may be none
    """
    with ExitStack() as stack:
        series: list[Series] = []
        for forecast in forecasts:
            series.append(simulation.open_series(forecast.folder, comm))
            stack.callback(series[-1].close)
        times = [t for t in series[0].times if t < forecasts[0].time - slack]
        steps = [[_step(of, t, slack) for of in series] for t in times]
        shared = [(t, of) for t, of in zip(times, steps, strict=True) if min(of) >= 0]
        if shared:
            on_rank_0(lambda: folder.mkdir(exist_ok=True), comm)
        prior = ((t, _columns(series, of, transfer)) for t, of in shared)
        inflated_prior = ((t, inflated(columns, factor)) for t, columns in prior)
        for number, (time, members) in enumerate(smoothed([update], inflated_prior)):
            moments = Moments()
            for member, (step, of) in enumerate(zip(shared[number][1], series, strict=True)):
                moments.add(_moved(_state(of, step, transfer), members[:, member], transfer))
            write_moments(moments, time, folder, comm, ending=f"_{number}")
        return [t for t, _ in shared]


def _step(series: Series, time: float, slack: float) -> int:
    """Number of a series' state at a time, −1 where it has none."""
    near = np.flatnonzero(np.abs(np.asarray(series.times) - time) <= slack)
    return int(near[0]) if len(near) else -1


def _state(series: Series, step: int, transfer: Transfer) -> State:
    return transfer.within_bounds(series.read(step, list(transfer.field_names)))


def _columns(series: Sequence[Series], steps: Sequence[int], transfer: Transfer) -> np.ndarray:
    """(n_local, N) members at one time. Collective."""
    columns: Iterator[np.ndarray] = (
        column_of(_state(of, step, transfer), transfer) for of, step in zip(series, steps, strict=True)
    )
    return np.column_stack(list(columns))


def _moved(state: State, column: np.ndarray, transfer: Transfer) -> State:
    """A state as its column on the grid has become. Collective."""
    return State(state.time, transfer.added(state, column - column_of(state, transfer)))
