"""What is known of a parameter before its first reading: a distribution, and its transform to a standard normal.

An analysis is linear and moves parameters without regard to bounds. So it is made in z, standard normal under the
prior, and the model gets x = F⁻¹(Φ(z)), monotone, within the prior's bounds whatever z is (Gaussian anamorphosis:
Bertino, Evensen & Wackernagel 2003, Sequential data assimilation techniques in oceanography). x in its own units:

    Normal       x = mean + deviation z
    LogNormal    x = median exp(deviation z), above zero
    Uniform      x = low + (high − low) Φ(z)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri

_FARTHEST = 8.0  # standard deviations; Φ is 1 − 6e-16 there


class Prior(Protocol):
    """A distribution of one number. Functions of arrays of any shape, value by value."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest value."""

    def value(self, unbounded: np.ndarray) -> np.ndarray:
        """x of z, rising, within the bounds."""

    def unbounded(self, value: np.ndarray) -> np.ndarray:
        """z of x, at most 8 in size; ValueError if a value is out of bounds."""


@dataclass(frozen=True)
class Normal:
    """A normal distribution. ValueError unless the deviation is above zero."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        _above_zero("deviation", self.deviation)

    @property
    def bounds(self) -> tuple[float, float]:
        return -np.inf, np.inf

    def value(self, unbounded: np.ndarray) -> np.ndarray:
        return self.mean + self.deviation * np.asarray(unbounded, dtype=np.float64)

    def unbounded(self, value: np.ndarray) -> np.ndarray:
        return _near((np.asarray(value, dtype=np.float64) - self.mean) / self.deviation)


@dataclass(frozen=True)
class LogNormal:
    """ln x is normal, with mean ln(median) and this deviation: 0.5 is a factor of 1.65. ValueError unless both > 0."""

    median: float
    deviation: float

    def __post_init__(self) -> None:
        _above_zero("median", self.median)
        _above_zero("deviation", self.deviation)

    @property
    def bounds(self) -> tuple[float, float]:
        return 0.0, np.inf

    def value(self, unbounded: np.ndarray) -> np.ndarray:
        return self.median * np.exp(self.deviation * np.asarray(unbounded, dtype=np.float64))

    def unbounded(self, value: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return _near(np.log(_within(value, self.bounds) / self.median) / self.deviation)


@dataclass(frozen=True)
class Uniform:
    """All values from low to high alike. ValueError unless low < high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high or not np.isfinite([self.low, self.high]).all():
            raise ValueError(f"low is {self.low:g}, high {self.high:g}; expected two numbers, the lower first")

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high

    def value(self, unbounded: np.ndarray) -> np.ndarray:
        # rounding must not lead out
        return np.clip(self.low + (self.high - self.low) * ndtr(unbounded), self.low, self.high)

    def unbounded(self, value: np.ndarray) -> np.ndarray:
        return _near(ndtri((_within(value, self.bounds) - self.low) / (self.high - self.low)))


def quantile(prior: Prior, part: float) -> float:
    """The value that a part of the distribution, in (0, 1), is below."""
    if not 0.0 < part < 1.0:
        raise ValueError(f"quantile of {part:g}, expected a part between 0 and 1")
    return float(prior.value(ndtri(part)))


def values(priors: Sequence[Prior], unbounded: np.ndarray) -> np.ndarray:
    """The parameters' values: (P, N) → (P, N), each row by its own prior."""
    columns = [prior.value(row) for prior, row in zip(priors, unbounded, strict=True)]
    return np.array(columns, dtype=np.float64).reshape(np.shape(unbounded))


def draws(n_members: int, correlation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unbounded values of all members under the prior: (P, N).

    Each parameter's are a Latin hypercube (McKay, Beckman & Conover 1979, A comparison of three methods for selecting
    values of input variables): one in each N-th of the distribution, in random order. Where parameters are correlated
    they are mixed by a Cholesky factor. Then the mean of each is exactly zero and its variance (of N − 1) exactly one.

    Parameters
    ----------
    n_members : N, two or more
    correlation : (P, P) of the parameters, ones on its diagonal, positive definite
    rng : numpy's generator; the same seed gives the same values

    Raises
    ------
    ValueError
        if the correlations are not positive definite, or there are fewer than two members
    """
    if n_members < 2:
        raise ValueError(f"an ensemble of {n_members} member(s), expected two or more")
    n = len(correlation)
    levels = np.array([(rng.permutation(n_members) + rng.random(n_members)) / n_members for _ in range(n)])
    levels = np.clip(levels.reshape(n, n_members), 1e-15, 1.0 - 1e-15)
    mixed = square_root(correlation) @ ndtri(levels)
    centred = mixed - mixed.mean(axis=1, keepdims=True)
    return centred / centred.std(axis=1, ddof=1, keepdims=True)


def square_root(correlation: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of (P, P) correlations; ValueError if they are not positive definite."""
    try:
        return np.linalg.cholesky(np.asarray(correlation, dtype=np.float64).reshape(len(correlation), -1))
    except np.linalg.LinAlgError:
        raise ValueError("the parameters' correlations are not positive definite") from None


def _above_zero(name: str, value: float) -> None:
    if not 0.0 < value < np.inf:
        raise ValueError(f"{name} is {value:g}, expected a number above zero")


def _within(value: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    values, (low, high) = np.asarray(value, dtype=np.float64), bounds
    outside = ~((values >= low) & (values <= high))
    if outside.any():
        raise ValueError(f"{values[outside].flat[0]:g} is not between {low:g} and {high:g}, the prior's bounds")
    return values


def _near(unbounded: np.ndarray) -> np.ndarray:
    return np.clip(unbounded, -_FARTHEST, _FARTHEST)
