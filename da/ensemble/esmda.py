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

import numpy as np

from da.ensemble.ensemble import EnsembleReadings


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


def weaker(readings: EnsembleReadings, factor: float) -> EnsembleReadings:
    """The readings with R times a factor of 1 or more, for one of the updates: `etkf(weaker(readings, α_k), comm)`.

    Only R^{-1/2} of innovation and anomalies enters an update, so these are divided, and R stays as it is. ValueError
    if the factor is below 1
    """
    if not factor >= 1.0:
        raise ValueError(f"factor {factor:g} on R, expected 1 or more")
    root = np.sqrt(factor)
    return replace(readings, innovation=readings.innovation / root, anomalies=readings.anomalies / root)
