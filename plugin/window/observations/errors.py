"""The readings' errors as they count: the readings' own or their instruments', times the case's factor."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from da.observation.error import instrument_std
from da.observation.observations import Observations
from plugin.case.observations import ErrorSection
from plugin.case.variables import field_of


def with_errors(readings: Observations, settings: ErrorSection) -> Observations:
    """The readings with the standard deviations that R is made of."""
    own = instrument_std(readings.error, readings.instrument, settings.instruments, readings.variable)
    return replace(readings, error=own * factors(readings.variable, settings))


def factors(variable: np.ndarray, settings: ErrorSection) -> np.ndarray:
    """(M,) `error_model.factor` of readings of (M,) variables; one where none is given."""
    given = settings.factor
    if not isinstance(given, Mapping):
        return np.full(len(variable), float(given))
    return np.array([given.get(name, given.get(field_of(name), 1.0)) for name in map(str, variable)])
