"""How good an ensemble is at values that are known: its distance, its spread, and the rank of the truth among it.

Values are states of a twin experiment, or readings; these have errors of their own, so that members that are ranked
beside them need `with_reading_errors`.
"""

from dataclasses import dataclass

import numpy as np


def crps(members: np.ndarray, value: np.ndarray, fair: bool = True) -> np.ndarray:
    """Continuous ranked probability score, in the values' units: mean |x_i − y| less half the mean |x_i − x_j|.

    Gneiting & Raftery 2007, Strictly proper scoring rules, prediction, and estimation, eq. 21. The fair score averages
    over pairs of different members, so that a small ensemble is judged as its distribution would be (Ferro 2014, Fair
    scores for ensemble forecasts).

    Parameters
    ----------
    members : (M, N)
    value : (M,)
    fair : whether pairs are of different members

    Returns
    -------
    (M,); the smaller the better
    """
    n = members.shape[1]
    distance = np.mean(np.abs(members - value[:, None]), axis=1)
    # Σ_i Σ_j |x_i − x_j| = 2 Σ_k (2 k − N + 1) x_(k) of the sorted members, k from zero
    pairs = np.sort(members, axis=1) @ (2.0 * np.arange(n) - n + 1.0)
    return distance - pairs / (n * (n - 1) if fair else n**2)


def with_reading_errors(members: np.ndarray, std: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Members as readings of them would be: with draws of the readings' errors.

    Without them even a perfect ensemble has too many readings outside (Hamill 2001, Interpretation of rank histograms
    for verifying ensemble forecasts).

    members : (M, N); std : (M,) in the readings' units
    """
    return members + std[:, None] * rng.normal(size=members.shape)


def rank_histogram(members: np.ndarray, value: np.ndarray) -> np.ndarray:
    """How many values lie below all members, between the first and second, …, above all of them.

    Flat where members and value are drawn alike, a U where the spread is too small (Hamill 2001). A value that equals
    members is shared out evenly over the ranks that it may have.

    Parameters
    ----------
    members : (M, N)
    value : (M,)

    Returns
    -------
    (N + 1,) numbers that sum to M
    """
    n = members.shape[1]
    below = np.count_nonzero(members < value[:, None], axis=1)
    equal = np.count_nonzero(members == value[:, None], axis=1)
    share = 1.0 / (1.0 + equal)
    change = np.zeros(n + 2)
    np.add.at(change, below, share)
    np.add.at(change, below + equal + 1, -share)
    return np.cumsum(change)[:-1]


@dataclass(frozen=True)
class SpreadAndError:
    """Root mean squares over values: they are equal where the ensemble is as uncertain as it is wrong.

    spread : what the error should be, from the members' variance and the readings' errors
    error : of the mean
    """

    spread: float
    error: float


def spread_and_error(members: np.ndarray, value: np.ndarray, std: np.ndarray | float = 0.0) -> SpreadAndError:
    """Spread beside the error of the mean.

    Fortin et al. 2014, Why should ensemble spread match the RMSE of the ensemble mean? The mean of N members is itself
    uncertain, so that their variance counts (N + 1)/N times.

    Parameters
    ----------
    members : (M, N)
    value : (M,)
    std : standard deviations of the values' own errors, one or (M,)

    Returns
    -------
    SpreadAndError, NaN where M = 0
    """
    m, n = members.shape
    if m == 0:
        return SpreadAndError(np.nan, np.nan)
    variance = np.var(members, axis=1, ddof=1) * (n + 1) / n + np.square(std)
    error = np.mean(members, axis=1) - value
    return SpreadAndError(float(np.sqrt(np.mean(variance))), float(np.sqrt(np.mean(error**2))))
