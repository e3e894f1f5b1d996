"""Values that an options file gives as a constant or as Python: initial conditions, boundary values, sources.

The Python is executed as in Fluidity: `def val(X, t)`, once for every node, with X = (x, y, z) [m] and
t [s]. An options file is therefore a program: run only those you trust.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class FunctionError(ValueError):
    """Python in an options file that fails or returns no number; the message names it."""


@dataclass(frozen=True)
class Constant:
    """The same value everywhere and always: (k,) float64."""

    value: np.ndarray

    def at(self, places: Sequence[tuple[float, ...]], time: float) -> np.ndarray:
        """(N, k) values."""
        return np.tile(self.value, (len(places), 1))

    @property
    def is_zero(self) -> bool:
        """True if all values are zero."""
        return not self.value.any()


@dataclass(frozen=True)
class PythonFunction:
    """`def val(X, t)` of an options file.

    function : the callable
    where : option path, for messages
    size : number of values it gives: 1 or 3
    """

    function: Callable[[tuple[float, ...], float], Any]
    where: str
    size: int
    is_zero = False

    def at(self, places: Sequence[tuple[float, ...]], time: float) -> np.ndarray:
        """(N, k) values at `places`, a list of (x, y, z) tuples [m], at `time` [s].

        Raises
        ------
        FunctionError
            if the function fails, or does not give `size` numbers
        """
        function = self.function
        try:
            values = np.array([function(place, time) for place in places], dtype=np.float64)
        except Exception as error:  # it may raise anything: it is the user's
            raise FunctionError(f"{self.where}: val(X, {time!r}) raised {type(error).__name__}: {error}") from error
        shape = (len(places),) if self.size == 1 else (len(places), self.size)
        if values.shape != shape and len(places):
            raise FunctionError(
                f"{self.where}: val(X, t) gives values of shape {values.shape[1:]}, expected {shape[1:] or 'a number'}"
            )
        return values.reshape(len(places), self.size)


Function = Constant | PythonFunction


def compile_function(code: str, where: str, size: int) -> PythonFunction:
    """Make a PythonFunction of its source text.

    Raises
    ------
    FunctionError
        if it does not compile or defines no `val`
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(compile(code, where, "exec"), names)
    except Exception as error:  # it may raise anything: it is the user's
        raise FunctionError(f"{where}: {type(error).__name__}: {error}") from error
    if not callable(names.get("val")):
        raise FunctionError(
            f"{where}: defines {sorted(set(names) - {'__builtins__', '__name__'})}, expected def val(X, t)"
        )
    return PythonFunction(names["val"], where, size)
