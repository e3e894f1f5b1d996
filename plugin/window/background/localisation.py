"""From the case's `localisation` and `between` to the taper of background errors, U for readings, and its errors."""

from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper, check_between, localised_transform
from da.background.modulation import ModulatedTransform, modulated_transform
from da.background.transform import RowTransform
from da.diagnostics.posterior import Posterior, marginal, prior
from da.observation.anamorphosed import AnamorphosedOperator
from da.observation.matrix_operator import MatrixOperator
from da.observation.operator import ObservationOperator
from da.observation.speed import SpeedOperator
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError
from plugin.case.localisation import between_matrix, lengths_of
from plugin.state.transfer import Transfer
from plugin.window.analysis_cache import CachedResult

_REPRESENTERS = 5000  # observations that get a column each
_APART = 1000  # numbers of a control that cost less than a column for each of some tens of readings
_CONTROL = 10000  # numbers of a control whose Hessian every rank can hold: 0.8 GB


def make_taper(settings: BackgroundSection, transfer: Transfer) -> Taper | None:
    """The Taper of this rank's values; None where all covariances stay as they are.

    Raises
    ------
    ConfigurationError
        if a name is not of a variable that is analysed, or no covariance has the factors between variables
    """
    localisation, names = settings.localisation, [v.name for v in transfer.variables]
    try:
        between = _between(settings, names)
        if localisation is None and np.all(between == 1.0):
            return None
        horizontal = lengths_of(
            None if localisation is None else localisation.horizontal, names, "localisation.horizontal"
        )
        vertical = lengths_of(None if localisation is None else localisation.vertical, names, "localisation.vertical")
    except ValueError as error:
        raise ConfigurationError(f"background.{error}") from error
    places = transfer.grid.places(transfer.comm)
    return Taper(
        np.repeat(places, len(names), axis=0),
        np.tile(np.arange(len(names)), len(places)),
        horizontal,
        vertical,
        between,
        localisation.modes if localisation is not None else 0,
    )


def _between(settings: BackgroundSection, names: list[str]) -> np.ndarray:
    between = between_matrix(settings.between, names)
    try:
        check_between(between)
    except ValueError as error:
        raise ValueError(f"between: {error}") from error
    return between


def localised(
    transform: LinearTransform,
    taper: Taper | None,
    operator: ObservationOperator | SpeedOperator | AnamorphosedOperator,
    content: tuple[np.ndarray, ...],
    cached: CachedResult,
    comm: MPI.Comm,
) -> RowTransform:
    """U of a window's readings, made once while they stay where they are. Collective.

    Each reading has a column of U. Of more than 5,000, and where nothing falls with distance, the modes are modulated
    instead (`da.background.modulation`).

    operator : H; of wind speeds the components' rows count, with an anamorphosis those of the nodes about sensors
    content : what U depends on beside H

    Raises
    ------
    ConfigurationError
        if there are fewer modes than are to stay as they are, or too many modes or too short lengths for as many
        readings
    """
    if taper is None:
        return transform
    linear = linear_part(operator)
    try:
        apart = not taper.falls_with_distance and len(taper.between) * transform.n_control <= _APART
        if apart or linear.n_observations > _REPRESENTERS:
            return cached.result_for(content, lambda: _modulated(transform, taper, linear.n_observations), comm)
        return cached.result_for(
            (*linear.content, *content), lambda: localised_transform(transform, taper, linear), comm
        )
    except ValueError as error:
        raise ConfigurationError(f"background.localisation: {error}") from error


def _modulated(transform: LinearTransform, taper: Taper, n_observations: int) -> ModulatedTransform:
    made = modulated_transform(transform, taper)
    if made.n_control > _CONTROL:
        raise ValueError(
            f"{n_observations} readings are more than the {_REPRESENTERS} that are tapered one by one, and "
            f"{transform.n_control} modes with {made.tapered.shape[1]} patterns of the taper make a control of "
            f"{made.n_control} numbers, expected at most {_CONTROL}; use a smaller truncation, longer lengths, or "
            "fewer readings (thinning, superobservations)"
        )
    return made


def linear_part(operator: ObservationOperator | SpeedOperator | AnamorphosedOperator) -> MatrixOperator:
    """The values of the state that H reads, as a matrix; of wind speeds their components, of anamorphoses the nodes."""
    linear = operator.components if isinstance(operator, SpeedOperator) else operator
    linear = operator.nodes if isinstance(operator, AnamorphosedOperator) else linear
    if not isinstance(linear, MatrixOperator):
        raise TypeError(f"{type(linear).__name__} has no matrix, which localisation needs")
    return linear


def analysis_std(
    std: Callable[[Posterior, RowTransform], np.ndarray],
    errors: Posterior,
    transform: RowTransform,
    background: LinearTransform,
) -> np.ndarray:
    """Standard deviations of the analysis, with what no reading sees of a localised B.

    The variance that U of the readings lacks is that of the background. Interpolated to the mesh, the latter is taken
    without the taper within a cell of the grid, which is nearly one.

    Parameters
    ----------
    std : function of a Posterior and its U: standard deviations on the grid or the mesh
    errors : Posterior of the analysis; numbers after those of `transform` are biases
    transform : U of the analysis, without biases
    background : U of the background errors
    """
    known = std(marginal(errors, transform.n_control), transform)
    if transform is background or isinstance(transform, ModulatedTransform):
        return known
    lacking = std(prior(background.n_control), background) ** 2 - std(prior(transform.n_control), transform) ** 2
    return np.sqrt(known**2 + np.maximum(lacking, 0.0))
