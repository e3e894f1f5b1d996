"""The model at the times of its readings: first guess at the appropriate time (FGAT).

A window's forecast leaves dumps. A reading is compared with the dump nearest in time, or with a value
interpolated between the two around it; H of the increment is that of the analysis time (3D-FGAT, Fisher
& Andersson 2001; Lawless 2010). So a reading early in the window is not compared with a later state.
"""

from dataclasses import dataclass

import numpy as np

from coupling.simulation.simulation import Series
from da.observation.observations import Observations
from plugin.state.transfer import Transfer, values_at

MODES = ("nearest", "interpolate")


@dataclass(frozen=True)
class FirstGuess:
    """The model at readings, the same on every rank.

    value : (M,) in the readings' units, NaN where there is none
    inside : (M,) bool, false where a sensor lies outside the model's air at a dump it needs
    in_time : (M,) bool, false where the dumps do not reach the reading's time
    """

    value: np.ndarray
    inside: np.ndarray
    in_time: np.ndarray


def weights_in_time(
    time: np.ndarray, dumps: np.ndarray, mode: str, tolerance: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which dumps a reading is compared with.

    Parameters
    ----------
    time : (M,) [s] of the readings
    dumps : (S,) [s], rising
    mode : "nearest", of two equally near the later; or "interpolate", linearly
    tolerance : how far outside the dumps' times [s] a reading may lie; it is compared with the first or last then

    Returns
    -------
    first : (M,) int, number of the earlier dump
    second : (M,) int, number of the later one, which may be the same
    share : (M,) weight of the later one, in [0, 1]
    in_time : (M,) bool, false where the dumps do not reach

    Raises
    ------
    ValueError
        if the mode is unknown, or there is no dump
    """
    if mode not in MODES:
        raise ValueError(f"window mode {mode!r}, expected one of {', '.join(MODES)}")
    time, dumps = np.asarray(time, dtype=np.float64), np.asarray(dumps, dtype=np.float64)
    if len(dumps) == 0:
        raise ValueError("no dump to compare readings with")
    in_time = (time >= dumps[0] - tolerance) & (time <= dumps[-1] + tolerance)
    second = np.minimum(np.searchsorted(dumps, time), len(dumps) - 1)
    first = np.maximum(second - 1, 0)
    width = np.where(second > first, dumps[second] - dumps[first], 1.0)
    share = np.where(second > first, np.clip((time - dumps[first]) / width, 0.0, 1.0), 1.0)
    if mode == "nearest":
        first = second = np.where(share >= 0.5, second, first)
        share = np.ones(len(time))
    return first, second, share, in_time


def first_guess(
    series: Series, transfer: Transfer, readings: Observations, mode: str, tolerance: float = 0.0
) -> FirstGuess:
    """The model's values at readings of a window. Collective.

    Each dump is read once, and only those that a reading asks for.

    Parameters
    ----------
    series : Archive or DumpSeries of the forecast
    transfer : Transfer, whose variables and speeds the readings are of
    readings : Observations
    mode, tolerance : as in `weights_in_time`

    Returns
    -------
    FirstGuess

    Raises
    ------
    FileError, MeshError
        if a dump cannot be read, or lacks a field
    """
    first, second, share, in_time = weights_in_time(readings.time, series.times, mode, tolerance)
    value, inside = np.zeros(len(readings)), in_time.copy()
    for step in np.unique(np.concatenate([first[in_time], second[in_time]])):
        weight = np.where(first == step, 1.0 - share, 0.0) + np.where(second == step, share, 0.0)
        asked = np.flatnonzero(in_time & (weight > 0.0))
        if len(asked) == 0:
            continue
        state = series.read(int(step), list(transfer.field_names))
        model, within = values_at(state, transfer, readings.position[asked], readings.variable[asked])
        value[asked] += weight[asked] * model
        inside[asked] &= within
    # a place may be inside at one dump and outside at another where the mesh changes
    return FirstGuess(np.where(inside, value, np.nan), inside | ~in_time, in_time)
