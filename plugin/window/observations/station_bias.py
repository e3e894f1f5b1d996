"""Biases of stations: one for each station and variable that has readings and for which the case asks."""

from dataclasses import dataclass

import numpy as np

from da.observation.observations import Observations
from plugin.window.observations.selection import ObservationSettings


@dataclass(frozen=True)
class StationBiases:
    """The biases that an analysis estimates, K of them.

    names : "station variable" of each
    number : (M,) which bias each reading has, −1 for none
    prior : (K,) as the last analysis left them, in the variables' units
    std : (K,) of their prior errors
    """

    names: list[str]
    number: np.ndarray
    prior: np.ndarray
    std: np.ndarray

    def at_readings(self, biases: np.ndarray) -> np.ndarray:
        """(M,) of (K,) biases, zero where a reading has none."""
        return np.append(biases, 0.0)[self.number]


def station_biases(readings: Observations, settings: ObservationSettings) -> StationBiases:
    """The biases of a window's readings; none where the case asks for none."""
    number = np.full(len(readings), -1)
    if settings.bias is None:
        return StationBiases([], number, np.empty(0), np.empty(0))
    has = np.isin(readings.variable, list(settings.bias.std)) & (readings.station != "")
    biased = readings.select(has)
    names, number[has] = np.unique(np.char.add(np.char.add(biased.station, " "), biased.variable), return_inverse=True)
    prior = np.array([settings.biases.get(name, 0.0) for name in names.tolist()])
    std = np.array([settings.bias.std[name.rpartition(" ")[2]] for name in names.tolist()])
    return StationBiases(names.tolist(), number, prior, std)
