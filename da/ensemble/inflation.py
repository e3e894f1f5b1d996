"""Inflation: the spread that sampling errors and errors of the model take from an ensemble, given back.

A factor is one of standard deviations throughout: anomalies are multiplied by it, means stay.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from da.ensemble.ensemble import EnsembleReadings, anomalies_of


def inflated(members: np.ndarray, factor: float | np.ndarray) -> np.ndarray:
    """Members farther from their mean.

    Parameters
    ----------
    members : (n, N)
    factor : of the standard deviation, one for all rows or (n,)

    Returns
    -------
    (n, N)
    """
    factor = np.asarray(factor, dtype=np.float64)
    if not np.all(np.isfinite(factor)) or np.any(factor <= 0.0):
        raise ValueError(f"a factor of spread is {np.min(factor):g}, expected positive and finite ones")
    if np.all(factor == 1.0):
        return np.array(members, dtype=np.float64)
    anomalies = anomalies_of(members)
    return members + anomalies * (factor - 1.0 if factor.ndim == 0 else factor[:, None] - 1.0)


def relaxed_to_prior_spread(prior: np.ndarray, posterior: np.ndarray, weight: float) -> np.ndarray:
    """Members after the analysis, with σ = weight · σ_b + (1 − weight) · σ_a in each row.

    Whitaker & Hamill 2012, Evaluating methods to account for system errors in ensemble data assimilation (RTPS): spread
    returns where readings took it, and nowhere else.

    Parameters
    ----------
    prior, posterior : (n, N) members before and after the analysis
    weight : in [0, 1]

    Returns
    -------
    (n, N); a row whose spread is zero after the analysis stays as it is
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"relaxation to the prior spread of {weight:g}, expected a weight in [0, 1]")
    before, after = np.std(prior, axis=1), np.std(posterior, axis=1)
    ratio = np.divide(before, after, out=np.ones_like(after), where=after > 0.0)
    return inflated(posterior, 1.0 + weight * (ratio - 1.0))


def adaptive_factors(
    readings: EnsembleReadings,
    before: Mapping[str, float],
    *,
    spread: float = 0.2,
    bounds: tuple[float, float] = (0.9, 2.0),
) -> dict[str, float]:
    """Factors of the forecast's spread by field, from the innovations of this window and the factors of before.

    Miyoshi 2011, The Gaussian approach to adaptive covariance inflation and its implementation with the local ensemble
    transform Kalman filter, one factor for each field: with α the factor of variance, b = Σ σ_b²/σ_o² / p

        α_o = (Σ d²/σ_o² / p − 1) / b,   v_o = 2/p ((1 + α b)/b)²,   α_a = (v_o α + v α_o) / (v_o + v)

    Parameters
    ----------
    readings : EnsembleReadings of the forecast, before any factor
    before : {field: factor of the last window}; a field that is not in it begins at one
    spread : √v, how far α is believed to change from window to window; Miyoshi's 0.04 suits years of windows
    bounds : of the factor

    Returns
    -------
    {field: factor of the standard deviation}, those of before where a field has no reading or no spread
    """
    lowest, highest = bounds
    factors = dict(before)
    variance = np.sum(readings.anomalies**2, axis=1) / (readings.n_members - 1)
    for name in dict.fromkeys(map(str, readings.field)):
        of = np.asarray(readings.field) == name
        squared = readings.error.std_local[of] ** 2
        p, b = np.count_nonzero(of), float(np.mean(variance[of] / squared))
        alpha = before.get(name, 1.0) ** 2
        if b > 0.0:
            estimate = (float(np.mean(readings.innovation[of] ** 2 / squared)) - 1.0) / b
            error = 2.0 / p * ((1.0 + alpha * b) / b) ** 2
            alpha = (error * alpha + spread**2 * estimate) / (error + spread**2)
        factors[name] = float(np.clip(np.sqrt(max(alpha, 0.0)), lowest, highest))
    return factors


def inflated_readings(readings: EnsembleReadings, factors: Mapping[str, float]) -> EnsembleReadings:
    """What members inflated by field say at the readings, to first order.

    factors : {field: factor of the standard deviation}; a field that is not in it keeps its spread
    """
    factor = np.array([factors.get(str(name), 1.0) for name in readings.field])
    return replace(readings, anomalies=readings.anomalies * factor[:, None])
