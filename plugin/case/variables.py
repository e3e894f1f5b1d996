"""Names of variables: a field of the model, or a component of a vector field."""

from collections.abc import Iterable

import numpy as np


def field_of(variable: str) -> str:
    """The model's field that a variable is of: Velocity of Velocity.x and Velocity.speed."""
    return variable.rpartition(".")[0] or variable


def fields_of(variables: Iterable[str]) -> np.ndarray:
    """(M,) names of the fields of (M,) variables."""
    return np.array([field_of(str(name)) for name in variables], dtype=str)


def is_of(variable: str, name: str) -> bool:
    """Whether a variable has that name, or is a component of that field."""
    return variable == name or field_of(variable) == name
