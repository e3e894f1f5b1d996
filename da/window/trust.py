"""Whether a network can be trusted with a window: the checks of `da.diagnostics.trust`, of the whole path of codes.

Before the search the background's round trip, and the distance of each code of its path from those of training; after
it the distance of each code found, and J_o over all readings of the window. Where a check or the search fails there is
no analysis, and the caller keeps the one that it began with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from da.diagnostics.trust import DISTANCE, Trust, TrustCheck, TrustLimits, check_background, check_cost, round_trip
from da.minimisation.minimise import MinimisationError
from da.window.cost import WindowReadings
from da.window.latent4dvar import WindowAnalysis, latent4dvar
from da.window.path import LatentWindow


@dataclass(frozen=True)
class CheckedWindow:
    """An analysis over a window, or why there is none.

    analysis : WindowAnalysis; None where it was not made, or cannot be trusted
    trust : Trust, the checks that were made
    reason : why there is no analysis; "" if there is
    """

    analysis: WindowAnalysis | None
    trust: Trust
    reason: str


def checked4dvar(
    window: LatentWindow, readings: Sequence[WindowReadings], comm: MPI.Comm, limits: TrustLimits, **settings: Any
) -> CheckedWindow:
    """`latent4dvar` if it can be trusted. Collective.

    Parameters
    ----------
    window, readings, comm : as of `latent4dvar`
    limits : TrustLimits of the network
    settings : keyword arguments of `latent4dvar`

    Returns
    -------
    CheckedWindow

    Raises
    ------
    ValueError
        as `latent4dvar`
    """
    transform = window.transform
    assert transform.background is not None and transform.base is not None  # a window's transform is centred
    trip = round_trip(transform.decoder, transform.background, transform.base)
    trust = check_background(limits, trip, transform.base) + _path_check(limits, window.base, "forecast")
    if not trust.trusted:
        return CheckedWindow(None, trust, trust.reason)
    try:
        found = latent4dvar(window, readings, comm, **settings)
    except MinimisationError as failed:
        return CheckedWindow(None, trust, str(failed))
    whitened = [of.error.whiten(of.innovation) for of in readings]
    before = 0.5 * comm.allreduce(sum(float(one @ one) for one in whitened))
    trust += _path_check(limits, found.codes, "analysis") + check_cost(limits, before, found.observation_cost)
    return CheckedWindow(found if trust.trusted else None, trust, trust.reason)


def _path_check(limits: TrustLimits, path: np.ndarray, name: str) -> Trust:
    """The code of a path (K + 1, m) that is farthest from those of training."""
    return Trust(
        (TrustCheck(f"{DISTANCE} of the {name}", float(limits.cloud.distance(path.T).max()), limits.distance),)
    )
