"""Readings against an ensemble: quality control by its spread, and what an analysis is made of."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid
from coupling.geometry.points import MeshPoints
from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.observation.correlated_error import correlated_error, given_error
from da.observation.diagonal_error import diagonal_error
from da.observation.error import ObservationError
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.configuration import ConfigurationError
from plugin.case.observations import ErrorSection
from plugin.case.variables import fields_of
from plugin.ensemble.states import AtReadings
from plugin.readings.error_matrix import given_matrix
from plugin.window.observations.errors import factors
from plugin.window.observations.quality_control import control_quality, superobservations
from plugin.window.observations.selection import ObservationSettings


@dataclass(frozen=True)
class Compared:
    """M readings of a window and what N members have there.

    readings : Observations, their errors as they count
    values : (M, N) H(x_i) in the readings' units
    flags : (M,) of Flag's values
    """

    readings: Observations
    values: np.ndarray
    flags: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Numbers of the readings that the analysis uses."""
        return np.flatnonzero(self.flags == Flag.USED)

    @property
    def innovation(self) -> np.ndarray:
        """(M,) reading less mean of the members, NaN where a sensor is outside the air."""
        return self.departure(self.values)

    @property
    def out(self) -> np.ndarray:
        """(M,) bool, true where the members have no value."""
        return (self.flags == Flag.OUTSIDE) | (self.flags == Flag.NO_STATE)

    def of_fields(self, fields: Collection[str]) -> "Compared":
        """The same with the readings of some fields alone in use."""
        others = (self.flags == Flag.USED) & ~np.isin(fields_of(self.readings.variable), list(fields))
        return replace(self, flags=np.where(others, int(Flag.WITHHELD), self.flags))

    def departure(self, values: np.ndarray) -> np.ndarray:
        """(M,) reading less mean of (M, N) values of the members, NaN where a sensor is outside the air."""
        return np.where(self.out, np.nan, self.readings.value - mean_of(values))


def spread_of(values: np.ndarray) -> np.ndarray:
    """(M,) standard deviation of (M, N) values of the members, with N − 1."""
    return np.std(values, axis=1, ddof=1)


def compare(
    readings: Observations,
    seen: AtReadings,
    time: float,
    settings: ObservationSettings,
    grid: Grid | MeshPoints,
) -> Compared:
    """Quality control of a window's readings: the same checks as with one model, the background's error is the spread.

    Parameters
    ----------
    readings : Observations, their errors as they count
    seen : AtReadings of all members
    time : s, of the analysis
    settings : ObservationSettings
    grid : Grid, whose spacing makes the cells of thinning, or MeshPoints
    """
    values, in_time = seen.values, seen.in_time
    out = [(Flag.OUTSIDE, ~seen.inside & in_time), (Flag.NO_STATE, ~in_time), *settings.flagged]
    innovation = np.where(seen.inside & in_time, readings.value - mean_of(values), np.nan)
    flags = control_quality(
        readings, settings.quality, grid, time, innovation, lambda: spread_of(values), out, settings.withheld
    )
    return Compared(readings, values, flags)


def analysed_readings(
    compared: Compared, settings: ObservationSettings, grid: Grid | MeshPoints, analysed: list[str]
) -> EnsembleReadings:
    """What the analysis is made of: the readings that are used, averaged where the case asks for it.

    analysed : names of the variables

    Raises
    ------
    ConfigurationError
        if R is not positive definite, or does not fit the readings
    """
    used = compared.used
    readings, values = compared.readings.select(used), compared.values[used]
    departure, anomalies = readings.value - mean_of(values), anomalies_of(values)
    speeds = ~np.isin(readings.variable, analysed)
    means = superobservations(readings, settings.quality.thinning, grid, speeds, False)
    if means is None:
        error = _error(readings, used, settings.error_model, len(compared.readings))
        return EnsembleReadings(departure, anomalies, error, readings.position, fields_of(readings.variable))
    _, first = np.unique(means.number, return_index=True)
    place = means.average @ readings.position
    averages = Observations(
        readings.time[first], place, readings.variable[first], means.average @ readings.value, means.error
    )
    error = _error(averages, used[first], settings.error_model, len(compared.readings))
    of = fields_of(averages.variable)
    return EnsembleReadings(means.average @ departure, means.average @ anomalies, error, place, of)


def _error(readings: Observations, numbers: np.ndarray, settings: ErrorSection, n_of_window: int) -> ObservationError:
    """R, complete on every rank. ConfigurationError as `analysed_readings`."""
    rows = slice(0, len(readings))
    try:
        if (of := settings.correlation) is not None:
            return correlated_error(
                readings.error, readings.position, readings.variable, of.length, rows, MPI.COMM_SELF,
                kind=of.kind, nugget=of.nugget,
            )  # fmt: skip
        if settings.matrix is not None:
            matrix = given_matrix(settings.matrix)
            if len(matrix) != n_of_window:
                raise ValueError(
                    f"matrix: {settings.matrix}: a matrix of shape {matrix.shape}, expected ({n_of_window}, "
                    f"{n_of_window}) for the window's readings"
                )
            factor = factors(readings.variable, settings)
            return given_error(factor[:, None] * matrix[np.ix_(numbers, numbers)] * factor, rows, MPI.COMM_SELF)
        return diagonal_error(readings.error, rows)
    except ValueError as error:
        raise ConfigurationError(f"observations.error_model: {error}") from None
