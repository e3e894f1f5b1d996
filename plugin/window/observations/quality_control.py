"""Which readings of a window an analysis uses: the checks of `da.observation.quality` as a case file asks for them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from coupling.geometry.grid import Grid
from coupling.geometry.points import MeshPoints
from da.observation.observations import Observations
from da.observation.quality import (
    Flag,
    background_check,
    buddy_check,
    duplicates,
    first_reason,
    out_of_range,
    stuck_since,
)
from da.observation.thinning import Superobs, cells, superobs, thinned
from plugin.case.observations import QualitySection, StuckSection, ThinningSection


def sensors_of(readings: Observations) -> np.ndarray:
    """(M,) a label for each sensor: station, or its place where it has no name, and variable."""
    places = np.array([",".join(f"{c:.3f}" for c in place) for place in readings.position], dtype=str)
    named = np.where(readings.station == "", places, readings.station) if len(readings) else readings.station
    return np.char.add(np.char.add(named.astype(str), " "), readings.variable)


def stuck_sensors(readings: Observations, settings: StuckSection) -> np.ndarray:
    """(M,) time [s] from which on a reading is known to be of a stuck sensor, infinite where it never is.

    readings : Observations of all times; settings : StuckSection
    """
    return stuck_since(
        readings.time, readings.value, sensors_of(readings), settings.readings, settings.tolerance, settings.still
    )


def control_quality(
    readings: Observations,
    settings: QualitySection,
    grid: Grid | MeshPoints,
    time: float,
    innovation: np.ndarray,
    background_std: Callable[[], np.ndarray],
    flagged: Iterable[tuple[Flag, np.ndarray]],
    withheld: Sequence[str] = (),
) -> np.ndarray:
    """A flag for each reading: that of the first check that rejects it; later checks leave such a reading out.

    Parameters
    ----------
    readings : Observations, their errors as they count
    settings : QualitySection
    grid : Grid, whose spacing makes the cells of thinning, or MeshPoints
    time : s, of the analysis
    innovation : (M,) in the readings' units
    background_std : function without arguments → (M,) standard deviation of the background there, asked if needed
    flagged : pairs (Flag, (M,) bool) of what earlier checks have marked
    withheld : stations that are not to be used

    Returns
    -------
    (M,) int8 of Flag's values
    """
    flags = first_reason(len(readings), flagged)

    def check(flag, marks):
        good = np.flatnonzero(flags == Flag.USED)
        if len(good):
            flags[good[marks(readings.select(good), good)]] = flag

    if settings.range:
        check(Flag.RANGE, lambda r, _: out_of_range(r.value, r.variable, settings.range))
    if withheld:  # such as are in order; from here on no reading is asked beside them
        check(Flag.WITHHELD, lambda r, _: np.isin(r.station, withheld))
    if (of := settings.duplicates) is not None:
        check(
            Flag.DUPLICATE,
            lambda r, _: duplicates(
                r.time, r.position, _label(r.variable, r.station), r.error, of.seconds, of.distance
            ),
        )
    asked = settings.background or settings.buddy is not None
    spread = background_std() if asked else np.full(len(readings), np.nan)
    if settings.background:
        check(Flag.BACKGROUND, lambda r, i: background_check(innovation[i], spread[i], r.error, settings.background))
    if (buddy := settings.buddy) is not None:
        check(
            Flag.BUDDY,
            lambda r, i: buddy_check(
                innovation[i], r.position, r.variable, spread[i], r.error, buddy.length, buddy.limit, buddy.correlation
            ),
        )
    if settings.thinning is not None and settings.thinning.method == "thin":
        # of equally accurate ones the nearest to the analysis time stays
        check(
            Flag.THINNED,
            lambda r, _: thinned(
                cells(r.position, r.variable, *_cell(settings.thinning, grid)), r.error, np.abs(r.time - time)
            ),
        )
    return flags


def superobservations(
    readings: Observations,
    settings: ThinningSection | None,
    grid: Grid | MeshPoints,
    speeds: np.ndarray,
    by_station: bool,
) -> Superobs | None:
    """Superobs of the readings that an analysis uses, or None where none are asked for.

    Parameters
    ----------
    readings : Observations
    settings : ThinningSection or None
    grid : Grid
    speeds : (M,) bool; a speed is averaged with no other, since the mean of speeds is not that of the mean wind
    by_station : whether only readings of one station are averaged, as where it has a bias
    """
    if settings is None or settings.method != "superob":
        return None
    group = _label(readings.variable, readings.station) if by_station else readings.variable
    group = np.where(speeds, _label(readings.variable, np.arange(len(readings)).astype(str)), group)
    return superobs(cells(readings.position, group, *_cell(settings, grid)), readings.error, settings.shared)


def _cell(settings, grid):
    return np.broadcast_to(grid.spacing if settings.cell is None else settings.cell, 3), grid.origin


def _label(*names):
    return np.char.add(np.char.add(names[0], "\n"), names[1])
