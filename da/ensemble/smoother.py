"""Smoother: states of before the readings, updated by the same analysis.

An update is linear in the members' anomalies, with weights that come from the readings alone. So it says the same of
any time of which the members have states: with those of the window's start or of its dumps it is the ensemble Kalman
smoother (Evensen & van Leeuwen 2000; Evensen 2003, section 5), which gives each time what all readings so far know of
it. Localised, each value follows the readings near its place, whatever the time between them.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from da.ensemble.ensemble import EnsembleUpdate


def smoothed(
    updates: Iterable[EnsembleUpdate], states: Iterable[tuple[float, np.ndarray]]
) -> Iterator[tuple[float, np.ndarray]]:
    """Members of earlier times after analyses, one time after another, so that one is in memory. Collective.

    Parameters
    ----------
    updates : EnsembleUpdate of each window since those states, oldest first, all of them in the same members
    states : (time [s], (n_local, N) members before these analyses), of the rows that the updates were made for

    Yields
    ------
    time, (n_local, N) members
    """
    of_windows = tuple(updates)
    for time, members in states:
        for update in of_windows:
            members = update.state(members)
        yield time, members
