"""Readings of other times: which they are, and the model that they are compared with.

A reading of before is compared with the state at its own time that the present background comes from. Within a window
that is a dump of the forecast, in an archive another of its states, which may be a later one, of a negative lag. Before
the window it is the analysis that the forecast began with, or an earlier one, whose residuals are in the tables of the
windows before: what these analyses already took from their readings is not taken again.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.simulation.simulation import Series
from da.observation.observations import Observations
from plugin.case.observations import ObservationSection
from plugin.readings.names import from_cell
from plugin.state.fgat import FirstGuess, first_guess
from plugin.state.transfer import Transfer

Recorded = Callable[[Observations], tuple[np.ndarray, np.ndarray]]


def with_earlier(
    readings: Observations, in_time: np.ndarray, end: float, settings: ObservationSection, half_width: float
) -> tuple[np.ndarray, np.ndarray]:
    """The readings of an analysis and those of the lags about it, which other sensors than those of now may have.

    Parameters
    ----------
    readings : Observations, all there are
    in_time : (M,) bool, those of now
    end : time of the analysis [s]
    settings : ObservationSection with lags
    half_width : how far from its time a reading counts as of it, unless the settings say so [s]

    Returns
    -------
    (K,) numbers of the readings, those of now first; (K,) int numbers of their lags, 0 for now
    """
    assert settings.lagged is not None
    lags, near = np.array(settings.lagged.lags), settings.tolerance or half_width
    numbers, lag = [np.flatnonzero(in_time)], [np.zeros(int(in_time.sum()), int)]
    free = ~in_time
    for number, ago in enumerate(lags, 1):
        own = np.flatnonzero(free & (np.abs(readings.time - (end - ago)) <= near))
        free[own] = False
        numbers.append(own)
        lag.append(np.full(len(own), number))
    return np.concatenate(numbers), np.concatenate(lag)


def earlier_guess(
    series: Series,
    transfer: Transfer,
    readings: Observations,
    lag: np.ndarray,
    slack: float,
    recorded: Recorded | None = None,
) -> FirstGuess:
    """The model at the readings of before, at their own times; at those of now none is asked for. Collective.

    Parameters
    ----------
    series : of the model's states; between two of them values are interpolated
    transfer : Transfer
    readings : Observations; lag : (K,) numbers of their lags, 0 for now
    slack : times this near are the same [s]
    recorded : function of readings that the series does not reach → (values of the model, (k,) bool where there is one)

    Returns
    -------
    FirstGuess of all readings, NaN for those of now
    """
    value, inside, in_time = np.full(len(readings), np.nan), np.ones(len(readings), bool), np.ones(len(readings), bool)
    before = np.flatnonzero(lag)
    if len(before):
        guess = first_guess(series, transfer, readings.select(before), "interpolate", slack)
        value[before], inside[before], in_time[before] = guess.value, guess.inside, guess.in_time
        missing = before[~guess.in_time]
        if recorded is not None and len(missing):
            value[missing], in_time[missing] = recorded(readings.select(missing))
    return FirstGuess(value, inside, in_time)


def recorded_in(tables: Sequence[Path], comm: MPI.Comm) -> Recorded:
    """The model at readings that earlier windows used, from their tables: reading minus residual. Collective.

    tables : readings.csv of finished windows; those that are not there are left out
    """

    def model_at(readings: Observations) -> tuple[np.ndarray, np.ndarray]:
        residuals = on_rank_0(lambda: _residuals(tables), comm)
        value, known = np.full(len(readings), np.nan), np.zeros(len(readings), bool)
        for k in range(len(readings)):
            key = (
                float(readings.time[k]), *map(float, readings.position[k]), str(readings.station[k]),
                str(readings.variable[k]), float(readings.value[k]),
            )  # fmt: skip
            if key in residuals:
                value[k], known[k] = readings.value[k] - residuals[key], True
        return value, known

    return model_at


def _residuals(tables: Sequence[Path]) -> dict[tuple, float]:
    """{(time, x, y, z, station, variable, value): residual} of the readings that analyses used."""
    residuals = {}
    for path in tables:
        if not path.is_file():
            continue
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["used"] == "yes" and row["residual"]:
                    place = (float(row[name]) for name in ("time", "x", "y", "z"))
                    key = *place, from_cell(row["station"]), from_cell(row["variable"]), float(row["value"])
                    residuals[key] = float(row["residual"])
    return residuals


def lacking_line(
    readings: Observations, ends: Sequence[float], began: float, settings: ObservationSection, half_width: float
) -> str:
    """What is said once of analyses that have no readings by some lag before or after them; "" where all have.

    ends : times of the analyses [s]; began : of the first state there is
    """
    if settings.lagged is None or len(ends) == 0:
        return ""
    near, times = settings.tolerance or half_width, np.sort(readings.time)
    lacking: dict[float, int] = {}
    for end in ends:
        for ago in settings.lagged.lags:
            first, last = np.searchsorted(times, [end - ago - near, end - ago + near])
            if first == last or end - ago < began - near:
                lacking[ago] = lacking.get(ago, 0) + 1
    if not lacking:
        return ""
    counts = ", ".join(
        f"{count} of {len(ends)} none of {abs(ago):g} s {'before' if ago > 0.0 else 'after'}"
        for ago, count in sorted(lacking.items())
    )
    return f"observations.lagged: of the analyses have {counts}; they use the readings that there are"
