"""From the case's `observations.lagged` to U and H of readings of now and before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from da.background.lag_pairs import lag_pairs
from da.background.lagged import LAGGED, Lagged, lagged_transform
from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper
from da.background.transform import RowTransform
from da.observation.anamorphosed import AnamorphosedOperator
from da.observation.matrix_operator import MatrixOperator
from da.observation.operator import ObservationOperator
from da.observation.speed import SpeedOperator
from plugin.case.configuration import ConfigurationError
from plugin.case.observations import LaggedSection
from plugin.window.analysis_cache import CachedResult
from plugin.window.background.localisation import linear_part

_MOST = 5000  # readings that get a column each


@dataclass(frozen=True)
class LaggedSnapshots:
    """The snapshots' times, and which of them are pairs.

    times, run : (S,) of each snapshot [s], and the number of the run it is of
    lags : (L,) [s], rising
    time_scale : T [s]
    """

    times: np.ndarray
    run: np.ndarray
    lags: np.ndarray
    time_scale: float


def lagged_snapshots(
    settings: LaggedSection | None, times: Sequence[float], run: Sequence[int]
) -> LaggedSnapshots | None:
    """The snapshots as the case's lags need them; None where no reading of before is used.

    Raises
    ------
    ConfigurationError
        if no snapshots are the lags apart; the message says how far apart they are
    """
    if settings is None:
        return None
    made = LaggedSnapshots(np.array(times), np.array(run), np.array(settings.lags), settings.scale)
    try:
        lag_pairs(made.times, made.lags, made.run)
    except ValueError as error:
        raise ConfigurationError(f"observations.lagged.lags: background.snapshots: {error}") from error
    return made


def with_readings_before(
    transform: LinearTransform,
    taper: Taper | None,
    snapshots: LaggedSnapshots,
    operator: ObservationOperator | SpeedOperator | AnamorphosedOperator,
    lag: np.ndarray,
    content: tuple[np.ndarray, ...],
    cached: CachedResult,
    comm: MPI.Comm,
) -> tuple[RowTransform, MatrixOperator | AnamorphosedOperator]:
    """(U, H) of readings of now and before, made once while they stay where they are. Collective.

    With an anamorphosis the values at nodes count as readings do, and H is not linear (`da.observation.anamorphosed`).

    lag : (M_local,) number of the lag of each row of H, 0 for now
    content : what U depends on beside H

    Raises
    ------
    ConfigurationError
        if there are too many readings, or the modes do not know their snapshots
    """
    linear = linear_part(operator)
    if isinstance(operator, AnamorphosedOperator):
        lag = _at_nodes(operator, lag)
    if linear.n_observations > _MOST:
        raise ConfigurationError(
            f"observations.window: lagged: {linear.n_observations} readings, or nodes about them, with those of "
            f"before, expected at most {_MOST}; use fewer lags, or fewer readings (thinning)"
        )
    there = np.unique(np.concatenate([np.zeros(1, int), *comm.allgather(lag)]))  # of the lags that readings have
    lags = snapshots.lags[there[1:] - 1]

    def compute() -> Lagged:
        pairs = lag_pairs(snapshots.times, lags, snapshots.run)
        return lagged_transform(transform, taper, pairs, snapshots.time_scale, linear, np.searchsorted(there, lag))

    try:
        made = cached.result_for((*linear.content, lag, *content), compute, comm)
    except ValueError as error:
        raise ConfigurationError(f"observations.window: lagged: {error}") from error
    if isinstance(operator, AnamorphosedOperator):
        return made.transform, replace(operator, nodes=made.operator)
    return made.transform, made.operator


def _at_nodes(operator: AnamorphosedOperator, lag: np.ndarray) -> np.ndarray:
    """(K,) number of the lag of each node: those of readings of before are theirs alone."""
    assert isinstance(operator.outer, MatrixOperator)  # speeds have no lags
    matrix, result = operator.outer.matrix, np.zeros(len(operator.background), int)
    start, column, _ = matrix.getValuesCSR()
    result[column - matrix.getOwnershipRangeColumn()[0]] = np.repeat(lag, np.diff(start))
    return result


def state_rows(transform: RowTransform, n_local: int) -> RowTransform:
    """U of the state alone, without what readings of before observe. Collective."""
    if not isinstance(transform, LinearTransform) or transform.modes.name != LAGGED:
        return transform  # the same on every rank: one may have no reading of before
    modes = replace(transform.modes, vectors=transform.modes.vectors[:n_local], mean=transform.modes.mean[:n_local])
    return LinearTransform(modes, None, transform.comm)
