"""ES-MDA: parameters from all readings of a period, assimilated several times with errors made larger.

Emerick & Reynolds 2013, Ensemble smoother with multiple data assimilation. Members are run over the whole period and
updated by all readings with R multiplied by α_k, then run again with the new parameters; with

    Σ_k 1/α_k = 1

each reading counts once in all. One large step of a model that is far from linear becomes some small ones, each with
its own covariances of parameters and readings. The paper's update has perturbed readings; here it is the symmetric
square root (`da.ensemble.etkf`), which needs no draws: with a linear model and more members than parameters, mean and
covariance of the parameters are those of one Kalman update, to rounding.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from mpi4py import MPI

from da.ensemble.ensemble import EnsembleReadings
from da.ensemble.etkf import etkf


def coefficients(iterations: int, fall: float = 1.0) -> np.ndarray:
    """(iterations,) α of each, Σ 1/α = 1.

    fall : α of an iteration over that of the next: 1 for the same in each, as in most of the paper; above 1 the first
        steps, which are the farthest from linear, are shorter

    ValueError if there is no iteration, or `fall` is below 1
    """
    if iterations < 1:
        raise ValueError(f"{iterations} iterations, expected one or more")
    if not 1.0 <= fall < np.inf:
        raise ValueError(f"factors on R that fall by {fall:g}, expected 1 or more")
    shape = fall ** -np.arange(iterations, dtype=np.float64)
    return np.asarray(shape * np.sum(1.0 / shape))


def assimilated(
    parameters: np.ndarray, readings: EnsembleReadings, factor: float, comm: MPI.Comm
) -> tuple[np.ndarray, dict[str, Any]]:
    """Parameters after one of the assimilations. Collective.

    Parameters
    ----------
    parameters : (P, N) unbounded, the same on every rank
    readings : EnsembleReadings of the members that were run with these parameters
    factor : α ≥ 1, of R
    comm : MPI communicator

    Returns
    -------
    (P, N) parameters to run the members with next, and the update's plain numbers: of R itself, `chi_squared` of the
    mean of H(x_i) before the update
    """
    if not factor >= 1.0:
        raise ValueError(f"factor {factor:g} on R, expected 1 or more")
    root = np.sqrt(factor)
    # only R^{-1/2} of both enters an update, so that this is R times α
    weaker = replace(readings, innovation=readings.innovation / root, anomalies=readings.anomalies / root)
    update = etkf(weaker, comm)
    innovation = readings.whitened()[0]
    chi_squared = float(innovation @ innovation) / len(readings) if len(readings) else None
    degrees = update.summary()["degrees_of_freedom"]
    figures = {"factor": float(factor), "chi_squared": chi_squared, "degrees_of_freedom": degrees}
    return update.parameters(parameters), figures
