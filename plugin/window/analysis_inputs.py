"""From the readings that passed quality control to what an analysis is made of: y − H x_b, H, R and U."""

from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from da.background.biased_transform import BiasedTransform
from da.background.linear_transform import LinearTransform
from da.background.transform import Transform
from da.minimisation.hessian import ObservationHessian
from da.minimisation.huber import Huber
from da.observation.bias import BiasedOperator
from da.observation.error import ObservationError
from da.observation.observations import Observations
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.background.lagged import with_readings_before
from plugin.window.background.localisation import localised
from plugin.window.background.of_case import Background
from plugin.window.observations.innovation import Innovation
from plugin.window.observations.operator import Operator, ReadingOperator, error_covariance, make_operator
from plugin.window.observations.quality_control import superobservations
from plugin.window.observations.selection import ObservationSettings


@dataclass(frozen=True)
class AnalysisInputs:
    """What an analysis is made of.

    readings : Observations that are used, their errors as they count
    numbers : (number of readings,) each one's number among all of the window
    reading_operator : ReadingOperator of them
    background : U of the background errors, neither localised nor with biases
    transform, operator, error : U, H and R of the analysis, with biases if there are
    lag : (M_local,) number of the lag of each of H's rows, 0 for readings of now
    innovation : (M_local,) of H's rows, in the readings' units
    huber : Huber, or None
    hessian : of J_o; None where there are outer loops, Huber's norm, or a network's analysis
    """

    readings: Observations
    numbers: np.ndarray
    reading_operator: ReadingOperator
    background: LinearTransform
    transform: Transform
    operator: Operator
    error: ObservationError
    lag: np.ndarray
    innovation: np.ndarray
    huber: Huber | None
    hessian: ObservationHessian | None = None


def analysis_inputs(
    background: Background,
    innovation: Innovation,
    used: np.ndarray,
    settings: ObservationSettings,
    cache: AnalysisCache,
    comm: MPI.Comm,
) -> AnalysisInputs:
    """U, H, R and the innovation of the readings that are used. Collective.

    used : numbers of these readings among those of the innovation, rising; one at least

    Raises
    ------
    ConfigurationError
        if R is not positive definite, or does not fit the readings; if the localisation does not fit the modes
    """
    transfer, biases, n = background.transfer, innovation.biases, len(innovation.readings)
    readings, reading_operator = innovation.readings.select(used), innovation.operator
    speeds = ~np.isin(readings.variable, [v.name for v in transfer.variables])
    means = superobservations(readings, settings.quality.thinning, transfer.grid, speeds, bool(biases.names))
    if len(used) < n or means is not None:
        reading_operator, _ = make_operator(transfer, innovation.at_readings.select(used), readings, means)
    if means is not None:
        readings = replace(readings, error=means.error[means.number])
    operator: Operator = reading_operator.operator
    lag = innovation.lag[used][reading_operator.reading]
    whole, taper, content = background.transform, background.taper, background.content
    transform: Transform
    if background.lagged is not None and innovation.lag[used].any():
        of = whole, taper, background.lagged, reading_operator.operator, lag, content
        transform, operator = with_readings_before(*of, cache.localised, comm)
    else:
        transform = localised(whole, taper, reading_operator.operator, content, cache.localised, comm)
    if biases.names:
        transform = BiasedTransform(transform, biases.std, comm)
        operator = BiasedOperator(operator, biases.number[used][reading_operator.reading], len(biases.names), comm)
    error = error_covariance(readings, used, settings.error_model, reading_operator, n, comm)
    huber = None if settings.huber is None else Huber(*np.atleast_1d(settings.huber).tolist())
    departure = reading_operator.mean @ innovation.value[used]
    return AnalysisInputs(
        readings, used, reading_operator, background.transform, transform, operator, error, lag, departure, huber
    )


def quadratic_form(inputs: AnalysisInputs, increment: np.ndarray) -> tuple[Operator, ObservationError, np.ndarray]:
    """(H, R, residual) of the quadratic form that J is about an increment: of Huber's norm the R that counts there."""
    residual = inputs.innovation - inputs.operator.observe(increment)
    linear = inputs.operator if inputs.operator.linear else inputs.operator.linearised(increment)
    error = inputs.error if inputs.huber is None else inputs.huber.counted(residual, inputs.error)
    return linear, error, residual
