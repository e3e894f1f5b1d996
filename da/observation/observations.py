"""Observations: one row for each reading, the same on every rank, because they are few."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

_NAMES = ("variable", "station", "instrument")


class ObservationsError(ValueError):
    """Observations that cannot be assimilated; the message says which row and why."""


@dataclass(frozen=True)
class Observations:
    """M observations.

    time : (M,) s since the simulation's own zero
    position : (M, 3) m
    variable : (M,) names of the variables
    value : (M,) in the variable's units
    error : (M,) standard deviations of the observations' errors, in the variable's units
    station, instrument : (M,) names; "" where an observation has none, None where no observation has one

    ObservationsError if the lengths differ, a number is not finite, or an error is not positive.
    """

    time: np.ndarray
    position: np.ndarray
    variable: np.ndarray
    value: np.ndarray
    error: np.ndarray
    station: np.ndarray = None  # type: ignore[assignment]  # None is replaced by empty names below
    instrument: np.ndarray = None  # type: ignore[assignment]  # likewise

    def __post_init__(self) -> None:
        for field in fields(self):
            given = getattr(self, field.name)
            given = np.full(np.shape(self.value)[:1], "") if given is None else given
            kind = np.str_ if field.name in _NAMES else np.float64
            object.__setattr__(self, field.name, np.array(given, dtype=kind))
        if self.position.size == 0:
            object.__setattr__(self, "position", self.position.reshape(-1, 3))
        _check_shapes(self)
        _check_numbers(self)

    def __len__(self) -> int:
        return len(self.value)

    def select(self, which: np.ndarray | Sequence[int]) -> "Observations":
        """The rows of a (M,) bool mask, or of a list of row numbers, in its order."""
        return Observations(*(getattr(self, field.name)[which] for field in fields(self)))


def _check_shapes(observations: Observations) -> None:
    n = len(observations.value) if observations.value.ndim else 0
    for field in fields(observations):
        expected = (n, 3) if field.name == "position" else (n,)
        shape = getattr(observations, field.name).shape
        if shape != expected:
            raise ObservationsError(
                f"observations: {field.name} has shape {shape}, expected {expected} for {n} values; "
                "give one row for each reading"
            )


def _check_numbers(observations: Observations) -> None:
    for name in ("time", "position", "value", "error"):
        array = getattr(observations, name)
        bad = np.unique(np.argwhere(~np.isfinite(array))[:, 0])
        if len(bad):
            raise ObservationsError(
                f"observations: {name} of row {bad[0]} is {array[bad[0]]}, expected a finite number; "
                f"leave such rows out ({len(bad)} of {len(array)})"
            )
    bad = np.flatnonzero(observations.error <= 0.0)
    if len(bad):
        raise ObservationsError(
            f"observations: error of row {bad[0]} is {observations.error[bad[0]]:g}, expected a positive "
            f"standard deviation; a sensor without one needs an assumed one ({len(bad)} of {len(observations)} rows)"
        )
