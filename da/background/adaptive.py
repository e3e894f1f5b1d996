"""The factor of background errors that the day's innovations ask for.

Errors estimated from earlier runs have the climate's variance; a forecast that has been corrected for some windows is
better than that. Where R and the shape of B are right, innovations have the variance λ σ_b² + σ_o², so that

    λ̂ = (Σ d²/σ_o² − M) / Σ σ_b²/σ_o²

estimates the factor λ of B (Wang & Bishop 2003; Li, Kalnay & Miyoshi 2009, their OMB²). One window's estimate is noisy;
it is joined with those before by a geometric mean whose weights fall by 1 − 1/m from window to window. The first window
has none before it: what B itself assumes is no estimate.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FactorRule:
    """How a factor follows the innovations.

    memory : m, windows over which an estimate fades; 1 for the last window's alone
    lowest, highest : bounds of the factor of the standard deviation
    fewest : readings that an estimate needs
    """

    memory: float = 2.0
    lowest: float = 0.1
    highest: float = 3.0
    fewest: int = 5


def variance_factor(innovation: np.ndarray, background_std: np.ndarray, error: np.ndarray) -> float:
    """λ̂ of one window; it may be negative where innovations are smaller than R explains. NaN where σ_b is zero.

    innovation, background_std, error : (M,) d, σ_b before any factor, and σ_o, in the readings' units
    """
    known = float(np.sum((background_std / error) ** 2))
    return float(np.sum((innovation / error) ** 2) - len(error)) / known if known > 0.0 else np.nan


def next_factor(
    before: float | None, innovation: np.ndarray, background_std: np.ndarray, error: np.ndarray, rule: FactorRule
) -> float | None:
    """The factor of the standard deviation, √λ, after a window; None where there is no estimate yet.

    before : the one so far; None before the first estimate
    """
    if len(error) < rule.fewest:
        return before
    estimate = variance_factor(innovation, background_std, error)
    if not np.isfinite(estimate):
        return before
    bounded = float(np.sqrt(np.clip(estimate, rule.lowest**2, rule.highest**2)))
    if before is None:
        return bounded
    part = 1.0 / rule.memory
    return float(np.clip(before ** (1.0 - part) * bounded**part, rule.lowest, rule.highest))
