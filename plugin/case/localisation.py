"""The case file's `background.localisation` and `background.between`: which covariances of the sample are kept."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from plugin.case.sections import Part, Positive, Section
from plugin.case.variables import field_of, is_of

Lengths = Positive | dict[str, Positive]
Between = Literal["sample"] | dict[str, list[str] | dict[str, Part]]


class LocalisationSection(Section):
    """Covariances of distant places fall to zero (Gaspari & Cohn 1999), because those of a sample are mostly noise."""

    horizontal: Lengths = Field(
        description="length across the vertical [m], one for all or {variable: length}; covariances are half of the "
        "sample's at 0.9 lengths, zero from two on"
    )
    vertical: Lengths | None = Field(None, description="length along the vertical [m]; no taper if left out")
    modes: int = Field(0, ge=0, description="leading modes whose covariances reach as far as they do (tsvd)")


def lengths_of(lengths: Lengths | None, variables: Sequence[str], key: str) -> np.ndarray:
    """(v,) length of each variable [m], inf where there is none.

    ValueError if one is of no variable, or a variable is left out
    """
    if not isinstance(lengths, Mapping):
        return np.full(len(variables), np.inf if lengths is None else lengths)
    _check_names(lengths, variables, key)
    given = [lengths.get(name, lengths.get(field_of(name))) for name in variables]
    missing = [name for name, length in zip(variables, given, strict=True) if length is None]
    if missing:
        raise ValueError(f"{key}: no length for {missing[0]}; give it one, or one number for all variables")
    return np.array(given, dtype=np.float64)


def between_matrix(between: Between | None, variables: Sequence[str]) -> np.ndarray:
    """(v, v) factors of the covariances between variables; one where entries say nothing.

    None : those of different fields are zero; "sample" : all are one

    ValueError if a name is of no variable, or of the same field, or two entries disagree
    """
    factors = np.ones((len(variables),) * 2)
    if between is None:
        fields = np.array([field_of(name) for name in variables])
        return np.asarray(fields[:, None] == fields[None, :], np.float64)
    if between == "sample":
        return factors
    given: dict[frozenset[str], float] = {}
    for one, entry in between.items():
        pairs = entry.items() if isinstance(entry, Mapping) else [(name, 0.0) for name in entry]
        _check_names([one, *dict(pairs)], variables, "between")
        for other, factor in pairs:
            if other == one or field_of(other) == one or field_of(one) == other:
                raise ValueError(f"between: {one} and {other} overlap; name two variables")
            if given.setdefault(frozenset((one, other)), factor) != factor:
                raise ValueError(f"between: two factors for {one} and {other}; give one")
            rows, columns = (np.array([is_of(name, of) for name in variables]) for of in (one, other))
            factors[np.ix_(rows, columns)] = factor
            factors[np.ix_(columns, rows)] = factor
    return factors


def _check_names(names: Sequence[str] | Mapping[str, object], variables: Sequence[str], key: str) -> None:
    unknown = [name for name in names if not any(is_of(variable, name) for variable in variables)]
    if unknown:
        raise ValueError(f"{key}: {unknown[0]} is not analysed; the variables are {', '.join(variables)}")
