"""Which readings an analysis is made of, and how they are treated."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coupling.simulation.simulation import Series
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.observations import (
    ANALYSIS_TIME,
    LAGGED,
    BiasSection,
    ErrorSection,
    ObservationSection,
    QualitySection,
)
from plugin.state.fgat import FirstGuess, first_guess
from plugin.state.transfer import Transfer
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.observations.earlier import Recorded, earlier_guess, with_earlier
from plugin.window.observations.quality_control import stuck_sensors


@dataclass(frozen=True)
class ObservationSettings:
    """How readings are treated; what is left out changes nothing.

    quality, error_model, huber, outer_loops, bias, withheld : as in `ObservationSection`
    first_guess : the model at the readings' own times, or None for the analysis time
    flagged : pairs (Flag, (M,) bool) of readings that earlier checks have marked
    biases : {"station variable": bias so far, in the variable's units}
    lag : (M,) int, number of each reading's lag, 0 for those of now, which come first; None where all are
    """

    quality: QualitySection = QualitySection()
    error_model: ErrorSection = ErrorSection()
    huber: float | tuple[float, float] | None = None
    outer_loops: int = 10
    bias: BiasSection | None = None
    withheld: tuple[str, ...] = ()
    first_guess: FirstGuess | None = None
    flagged: tuple = ()
    biases: dict[str, float] = field(default_factory=dict)
    lag: np.ndarray | None = None

    @classmethod
    def from_section(cls, settings: ObservationSection, **of_window: Any) -> "ObservationSettings":
        """The treatment that a case file asks for."""
        names = ("quality", "error_model", "huber", "outer_loops", "bias", "withheld")
        return cls(**{name: getattr(settings, name) for name in names}, **of_window)


def belongs_to_window(
    readings: Observations, began: float, end: float, settings: ObservationSection, half_width: float, slack: float
) -> np.ndarray:
    """Which readings belong to an analysis.

    Parameters
    ----------
    readings : Observations
    began, end : times of the analysis before, and of this one [s]
    settings : ObservationSection
    half_width : how far from the analysis time a reading counts as of it, unless the settings say so [s]
    slack : times this near are the same [s]

    Returns
    -------
    (M,) bool
    """
    if settings.window in (ANALYSIS_TIME, LAGGED):
        return np.abs(readings.time - end) <= (settings.tolerance or half_width)
    # both ends are moved alike, so that windows one after another share no reading and lose none
    return (readings.time > began + slack) & (readings.time <= end + slack)


def window_readings(
    readings: Observations,
    in_time: np.ndarray,
    end: float,
    settings: ObservationSection,
    transfer: Transfer,
    dumps: Series | None,
    slack: float,
    cache: AnalysisCache | None = None,
    half_width: float = 0.0,
    recorded: Recorded | None = None,
    **of_window: Any,
) -> tuple[Observations, ObservationSettings]:
    """The readings of an analysis, and how they are treated. Collective.

    Parameters
    ----------
    readings : Observations, all there are
    in_time : those of this analysis, see `belongs_to_window`
    end : time of the analysis [s]
    settings : ObservationSection
    transfer : Transfer
    dumps : series of the model's states over the window, None where readings are of the analysis time
    slack : times this near are the same [s]
    cache : of the run's analyses, so that each window need not go through all earlier readings again
    half_width : as for `belongs_to_window`, of readings of before
    recorded : the model at readings that the dumps do not reach, see `earlier_guess`
    of_window : further fields of the ObservationSettings

    Returns
    -------
    Observations, ObservationSettings
    """
    numbers = np.flatnonzero(in_time)
    if settings.lagged is not None:
        numbers, of_window["lag"] = with_earlier(readings, in_time, end, settings, half_width)
    usable = readings.select(numbers)
    if (stuck := settings.quality.stuck) is not None:
        content = (readings.time, readings.value, readings.position, readings.station, readings.variable)
        since = (cache or AnalysisCache()).stuck.result_for(
            content, lambda: stuck_sensors(readings, stuck), transfer.comm
        )
        of_window["flagged"] = ((Flag.STUCK, since[numbers] <= usable.time.max(initial=end)),)
    if dumps is not None and settings.lagged is not None:
        lag = of_window["lag"]
        of_window["first_guess"] = earlier_guess(dumps, transfer, usable, lag, slack, recorded)
    elif dumps is not None and len(usable):
        of_window["first_guess"] = first_guess(dumps, transfer, usable, settings.window, slack)
    return usable, ObservationSettings.from_section(settings, **of_window)
