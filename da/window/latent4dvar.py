"""`latent4dvar`: the path of codes that fits all readings of a window best, 4D-Var in latent space.

With the strong constraint the forecast of codes F is perfect and the code of the window's start is found; with the weak
one F has errors of covariance Q, found for each step (Trémolet 2006). For linear F, g and H the path is that of the
fixed-interval Kalman smoother.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from da.analysis import Analysis, statistics
from da.decoded import check_search, search, warm_start
from da.window.cost import WindowReadings, window_cost
from da.window.path import LatentWindow


@dataclass(frozen=True)
class WindowAnalysis:
    """What an analysis over a window found.

    codes : (K + 1, m) the path, the same on every rank; `LatentWindow.increment` decodes it at any step
    step : of the analysis' increment
    analysis : Analysis; its increment is that of the step, its statistics and χ² those of all readings of the window
    """

    codes: np.ndarray
    step: int
    analysis: Analysis

    @property
    def observation_cost(self) -> float:
        """J_o of all readings of the window."""
        return 0.5 * self.analysis.chi_squared * self.analysis.innovation.count


def latent4dvar(
    window: LatentWindow,
    readings: Sequence[WindowReadings],
    comm: MPI.Comm,
    *,
    step: int | None = None,
    first_increment: np.ndarray | None = None,
    method: str = "lmvm",
    **minimiser: Any,
) -> WindowAnalysis:
    """The path of least cost. Collective.

    Parameters
    ----------
    window : LatentWindow; its noise decides between the strong and the weak constraint
    readings : WindowReadings in any order, one for a step
    comm : MPI communicator
    step : whose increment is wanted; None is the window's end
    first_increment : (n_local,) of another analysis at the window's start, such as one of that time alone; the search
        starts there if J is lower than at zero control. None starts at zero control
    method : one of `da.decoded.MINIMISERS`
    minimiser : keyword arguments as of `da.decoded.analyse_decoded`

    Returns
    -------
    WindowAnalysis

    Raises
    ------
    MinimisationError, ValueError
        as `da.decoded.analyse_decoded` and `window_cost`; if the step is not of the window
    """
    decoder = window.transform.decoder
    check_search(method, decoder.dtype)
    step = window.check_step(step)
    began = time.perf_counter()
    cost = window_cost(window, readings, comm)
    start = None if first_increment is None else warm_start(cost, window, first_increment)
    prepared = time.perf_counter()
    minimum = search(cost, decoder.dtype, comm, method, {"start": start, **minimiser})
    minimised = time.perf_counter()
    path = window.codes(minimum.control)
    misfits = cost.misfits(path)
    increment = window.increment(path, step)
    decoder.release()
    told = statistics(np.concatenate([of.innovation for of in cost.readings]), comm)
    whitened = np.concatenate([of.error.whiten(misfit) for of, misfit in zip(cost.readings, misfits, strict=True)])
    observation = comm.allreduce(float(whitened @ whitened))
    analysis = Analysis(
        control=minimum.control,
        increment=increment,
        trace=minimum.trace,
        innovation=told,
        residual=statistics(np.concatenate(misfits), comm),
        chi_squared=observation / told.count if told.count else np.nan,
        reason=minimum.reason,
        iterations=minimum.iterations,
        evaluations=minimum.evaluations,
        seconds={
            "prepare": prepared - began,
            "minimise": minimised - prepared,
            "increment": time.perf_counter() - minimised,
        },
    )
    return WindowAnalysis(path, step, analysis)
