"""Anamorphosis: the analysis in a variable nearer to Gaussian, which cannot leave a lower bound.

A concentration c has many values near zero and none below; its errors are not Gaussian, and an analysis that takes them
for such goes below zero. In place of c the analysis takes a = φ(c), with modes of φ(snapshots), and carries back
c = ψ(a), ψ = φ⁻¹ (Bertino, Evensen & Wackernagel 2003; Simon & Bertino 2009). y = c − c_min below:

    SquareRoot    a = √(y + ε)            ψ(a) = a² − ε
    Logarithm     a = ln(y + ε)           ψ(a) = eᵃ − ε
    NormalScore   a = Gaussian quantile of the rank of c in a sample, a monotone spline through some of them

The offset ε > 0 gives c a slope where it is at its bound: with ε = 0 readings of a plume could not enter a background
without one, since ψ' is zero there. Below φ(c_min) `continued` goes on with a positive slope, so that a minimiser finds
its way back; `inverse`, which makes the analysis, stays at the bound. Readings and R stay in the variable's own units.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from da.background.snapshots import row_blocks

KINDS = ("sqrt", "log", "quantile")
_LEVELS = ndtr(np.linspace(-3.2, 3.2, 65))  # ranks whose values may become knots


class Anamorphosis(ABC):
    """φ and ψ of one variable, in its units. Functions of arrays of any shape, value by value.

    lower : c_min, −inf for none
    """

    lower: float

    @abstractmethod
    def forward(self, values: np.ndarray) -> np.ndarray:
        """a = φ(c); of values below the bound, φ(c_min)."""

    @abstractmethod
    def continued(self, transformed: np.ndarray) -> np.ndarray:
        """ψ(a), continued below the bound; it has a continuous derivative."""

    @abstractmethod
    def slope(self, transformed: np.ndarray) -> np.ndarray:
        """The derivative of `continued`, positive."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What `described` makes it of again; plain values."""

    def inverse(self, transformed: np.ndarray) -> np.ndarray:
        """c = ψ(a), never below the bound."""
        return np.maximum(self.continued(transformed), self.lower)

    def bounded(self, values: np.ndarray) -> np.ndarray:
        """Values, those below the bound at it."""
        return np.maximum(values, self.lower)


@dataclass(frozen=True)
class SquareRoot(Anamorphosis):
    """√(c − c_min + ε); below the bound ψ is continued by its tangent, of slope 2 √ε. ValueError unless ε > 0."""

    lower: float
    offset: float

    def __post_init__(self) -> None:
        _check(self.lower, self.offset)

    def forward(self, values: np.ndarray) -> np.ndarray:
        return np.sqrt(self.bounded(values) - self.lower + self.offset)

    def continued(self, transformed: np.ndarray) -> np.ndarray:
        root = np.sqrt(self.offset)
        above = np.maximum(transformed, root)
        return self.lower + (above**2 - self.offset) + 2.0 * root * (transformed - above)

    def slope(self, transformed: np.ndarray) -> np.ndarray:
        return 2.0 * np.maximum(transformed, np.sqrt(self.offset))

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "sqrt", "lower": self.lower, "offset": self.offset}


@dataclass(frozen=True)
class Logarithm(Anamorphosis):
    """ln(c − c_min + ε); far below the bound ψ goes to c_min − ε. ValueError unless ε > 0."""

    lower: float
    offset: float

    def __post_init__(self) -> None:
        _check(self.lower, self.offset)

    def forward(self, values: np.ndarray) -> np.ndarray:
        return np.log(self.bounded(values) - self.lower + self.offset)

    def continued(self, transformed: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # a minimiser's step that is too long is taken back, as J is infinite there
            return self.lower + self.offset * np.expm1(np.asarray(transformed) - np.log(self.offset))

    def slope(self, transformed: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp(transformed)

    @property
    def description(self) -> dict[str, Any]:
        return {"kind": "log", "lower": self.lower, "offset": self.offset}


@dataclass(frozen=True)
class NormalScore(Anamorphosis):
    """The Gaussian quantile of a value's rank, by a monotone spline.

    lower : c_min, −inf for none
    values : (K,) knots c_k, rising
    scores : (K,) a_k, rising

    Between knots ψ is a rational quadratic spline (Gregory & Delbourgo 1982), monotone and with a closed inverse, its
    slopes at knots harmonic means of the secants' (Fritsch & Butland 1984); beyond the knots it goes on straight.
    ValueError unless there are two knots or more, finite and rising.
    """

    lower: float
    values: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        both = np.array([self.values, self.scores], float) if len(self.values) == len(self.scores) else np.empty((2, 0))
        if both.shape[1] < 2 or not np.isfinite(both).all() or not (np.diff(both) > 0.0).all():
            raise ValueError(
                f"{len(self.values)} values and {len(self.scores)} scores, expected two or more of each, rising"
            )

    @cached_property
    def _knots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Values, scores, secants' slopes, slopes at knots."""
        c, a = np.array(self.values), np.array(self.scores)
        width = np.diff(a)
        secant = np.diff(c) / width
        part = (width[:-1] + 2.0 * width[1:]) / (3.0 * (width[:-1] + width[1:]))
        between = secant[:-1] * secant[1:] / (part * secant[1:] + (1.0 - part) * secant[:-1])
        return c, a, secant, np.concatenate([secant[:1], between, secant[-1:]])

    def forward(self, values: np.ndarray) -> np.ndarray:
        c, a, secant, d = self._knots
        values = np.asarray(self.bounded(values), np.float64)
        k = np.clip(np.searchsorted(c, values, side="right") - 1, 0, len(c) - 2)
        s, eta = secant[k], np.clip(values, c[0], c[-1]) - c[k]
        bend, rise = d[k + 1] + d[k] - 2.0 * s, c[k + 1] - c[k]
        quadratic, linear = rise * (s - d[k]) + eta * bend, rise * d[k] - eta * bend
        theta = 2.0 * s * eta / (linear + np.sqrt(linear**2 + 4.0 * quadratic * s * eta))
        within = a[k] + theta * (a[k + 1] - a[k])
        beyond = np.minimum(values - c[0], 0.0) / d[0] + np.maximum(values - c[-1], 0.0) / d[-1]
        return within + beyond

    def continued(self, transformed: np.ndarray) -> np.ndarray:
        c, a, secant, d = self._knots
        k, theta, bend = self._place(transformed)
        s, product = secant[k], theta * (1.0 - theta)
        within = c[k] + (c[k + 1] - c[k]) * (s * theta**2 + d[k] * product) / (s + bend * product)
        low, high = np.minimum(transformed - a[0], 0.0), np.maximum(transformed - a[-1], 0.0)
        return within + d[0] * low + d[-1] * high

    def slope(self, transformed: np.ndarray) -> np.ndarray:
        _, _, secant, d = self._knots
        k, theta, bend = self._place(transformed)
        s, product = secant[k], theta * (1.0 - theta)
        top = d[k + 1] * theta**2 + 2.0 * s * product + d[k] * (1.0 - theta) ** 2
        return s**2 * top / (s + bend * product) ** 2

    def _place(self, transformed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of the interval, place in it from 0 to 1, and the slopes' excess; beyond the knots their ends."""
        _, a, secant, d = self._knots
        inside = np.clip(transformed, a[0], a[-1])
        k = np.clip(np.searchsorted(a, inside, side="right") - 1, 0, len(a) - 2)
        return k, (inside - a[k]) / (a[k + 1] - a[k]), d[k + 1] + d[k] - 2.0 * secant[k]

    @property
    def description(self) -> dict[str, Any]:
        lower = None if np.isinf(self.lower) else self.lower
        return {"kind": "quantile", "lower": lower, "values": list(self.values), "scores": list(self.scores)}


def _check(lower: float, offset: float) -> None:
    if not (np.isfinite(lower) and np.isfinite(offset) and offset > 0.0):
        raise ValueError(f"offset {offset} above a bound of {lower}, expected a positive one above a finite bound")


def described(description: Mapping[str, Any]) -> Anamorphosis:
    """The anamorphosis that has a `description`.

    ValueError if it describes none
    """
    try:
        of = dict(description)
        kind, lower = of.pop("kind"), of.pop("lower")
        if kind == "quantile":
            knots = (tuple(float(x) for x in of.pop(name)) for name in ("values", "scores"))
            return NormalScore(-np.inf if lower is None else float(lower), *knots)
        return {"sqrt": SquareRoot, "log": Logarithm}[kind](float(lower), float(of.pop("offset")))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{description!r} describes no anamorphosis: {error!r}") from None


def normal_score(sample: np.ndarray, lower: float, offset: float) -> NormalScore:
    """The NormalScore of a sample's ranks.

    Values nearer to each other than the offset count as equal, so that many zeros have one score and ψ has a slope
    there.

    Parameters
    ----------
    sample : (k,) finite values; those below the bound count as at it
    lower : c_min, −inf for none
    offset : least distance of two knots, in the values' units

    Raises
    ------
    ValueError
        if the sample does not reach over more than the offset
    """
    ordered = np.sort(np.maximum(np.asarray(sample, np.float64).ravel(), lower))
    knots = [float(ordered[0])]
    for candidate in np.quantile(ordered, _LEVELS, method="nearest").tolist():
        if candidate >= knots[-1] + offset:
            knots.append(candidate)
    if len(knots) < 2:
        raise ValueError(
            f"values from {ordered[0]:g} to {ordered[-1]:g} have no ranks to tell apart at an offset of {offset:g}; "
            "give a smaller one"
        )
    reach = np.array(knots)
    below = np.searchsorted(ordered, reach - 0.5 * offset, side="left")
    through = np.searchsorted(ordered, reach + 0.5 * offset, side="right")
    scores = ndtri(0.5 * (below + through) / len(ordered))
    return NormalScore(float(lower), tuple(knots), tuple(scores.tolist()))


@dataclass(frozen=True)
class Pointwise:
    """ψ of values of several variables.

    kinds : of each variable, None where it is analysed as it is
    variable : (K,) number of each value's variable; −1 for a value as it is
    """

    kinds: Sequence[Anamorphosis | None]
    variable: np.ndarray

    def values(self, transformed: np.ndarray) -> np.ndarray:
        """(K,) ψ, continued below bounds."""
        return self._each(transformed, lambda of, a: of.continued(a))

    def within_bounds(self, transformed: np.ndarray) -> np.ndarray:
        """(K,) ψ, never below a bound."""
        return self._each(transformed, lambda of, a: of.inverse(a))

    def slopes(self, transformed: np.ndarray) -> np.ndarray:
        """(K,) derivative of `values`; one where a variable is analysed as it is."""
        return self._each(transformed, lambda of, a: of.slope(a), 1.0)

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine it."""
        numbers = [np.array(_numbers(of)) for of in self.kinds]
        return (self.variable, *numbers)

    def _each(self, transformed, function, identity=None):
        result = np.array(transformed, np.float64) if identity is None else np.full(len(transformed), identity)
        for number, of in enumerate(self.kinds):
            if of is not None:
                mine = self.variable == number
                result[mine] = function(of, transformed[mine])
        return result


def _numbers(of: Anamorphosis | None) -> list[float]:
    if of is None:
        return []
    text = [float(KINDS.index(of.description["kind"])), of.lower]
    if isinstance(of, NormalScore):
        return [*text, *of.values, *of.scores]
    return [*text, of.description["offset"]]


def transform(rows: np.ndarray, forms: Sequence[Anamorphosis | None]) -> None:
    """Put φ of states in their place, block by block.

    Parameters
    ----------
    rows : (n, S), changed; variables follow each other at each place
    forms : of each variable, None for one that stays as it is
    """
    for number, form in enumerate(forms):
        if form is not None:
            of = rows[number :: len(forms)]
            for block in row_blocks(of.shape):
                of[block] = form.forward(of[block])
