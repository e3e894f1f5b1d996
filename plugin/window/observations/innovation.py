"""A window's readings against the background: y − H x_b, at the analysis time or at the readings' own times."""

from dataclasses import dataclass

import numpy as np

from coupling.geometry.mesh import State
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.state.at_readings import ModelAtReadings
from plugin.state.transfer import Transfer
from plugin.window.observations.errors import with_errors
from plugin.window.observations.operator import ReadingOperator, make_operator
from plugin.window.observations.selection import ObservationSettings
from plugin.window.observations.station_bias import StationBiases, station_biases


@dataclass(frozen=True)
class Innovation:
    """All readings of a window, M of them, compared with the background.

    readings : Observations, their errors as they count
    at_readings : ModelAtReadings of them
    operator : ReadingOperator, H of every reading inside the model's air
    biases : StationBiases
    value : (M,) in the readings' units, NaN outside the model's air
    flagged : pairs (Flag, (M,) bool) of readings that the model cannot be compared with
    lag : (M,) int, number of each reading's lag, 0 for those of now, which come first
    """

    readings: Observations
    at_readings: ModelAtReadings
    operator: ReadingOperator
    biases: StationBiases
    value: np.ndarray
    flagged: list[tuple[Flag, np.ndarray]]
    lag: np.ndarray

    @property
    def n_now(self) -> int:
        """Readings of the analysis time or its window: all but those of before."""
        return int(np.sum(self.lag == 0))


def compare_with_background(
    transfer: Transfer, state: State, readings: Observations, settings: ObservationSettings
) -> Innovation:
    """The innovation of a window's readings. Collective.

    Raises
    ------
    MeshError
        if the state lacks a field, or a reading is of something that is not analysed
    """
    readings = with_errors(readings, settings.error_model)
    at_readings = transfer.at_readings(state, readings.position, readings.variable)
    lag = np.zeros(len(readings), int) if settings.lag is None else settings.lag
    guess, guessed = settings.first_guess, np.zeros(len(readings))
    if guess is not None:
        guessed = np.where(guess.in_time, guess.value, 0.0)
        if lag.any():
            guessed = transfer.bounded(readings.variable, guessed)
            at_readings = at_readings.at_own_times(lag > 0, guessed)
    operator, model = make_operator(transfer, at_readings, readings)
    inside, untimely = operator.inside, []
    if guess is not None:
        asked = np.ones(len(readings), bool) if settings.lag is None else lag > 0
        model = np.where(asked, guessed, model)
        inside = inside & (guess.inside | ~asked)
        untimely = [(Flag.NO_STATE, asked & ~guess.in_time)]
    biases = station_biases(readings, settings)
    departure = readings.value - np.nan_to_num(model) - biases.at_readings(biases.prior)
    value = np.where(inside, departure, np.nan)
    return Innovation(readings, at_readings, operator, biases, value, [(Flag.OUTSIDE, ~inside), *untimely], lag)
