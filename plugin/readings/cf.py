"""The part of the CF conventions that readings need: variables, places, shapes of samples."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plugin.readings.cf_values import signed_as_meant, unpacked
from plugin.readings.common import ReadingsError
from plugin.readings.units import UnitError, conversion


@dataclass(frozen=True)
class CfVariable:
    """A variable of a file: path, its name, names of its dimensions, attributes, and raw values."""

    path: Path
    name: str
    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any]
    values: np.ndarray

    def numbers(self) -> np.ndarray:
        """Values as float64 in the file's units, NaN where missing or not valid.

        ReadingsError if the variable or an attribute is no number
        """
        try:
            return unpacked(self.values, self.attributes)
        except ValueError as error:
            raise ReadingsError(f"{self.path}: {self.name}: {error}") from None

    def integers(self) -> np.ndarray:
        """Values of a count or an index as int64."""
        try:
            return signed_as_meant(self.values, self.attributes).astype(np.int64)
        except ValueError as error:
            raise ReadingsError(f"{self.path}: {self.name}: {error}") from None

    def unit(self) -> str:
        """The attribute `units`; empty where there is none."""
        return text(self.attributes.get("units", ""))

    def words(self) -> np.ndarray:
        """Values as texts; of letters along a last dimension, whole words."""
        values = np.asarray(self.values)
        if values.dtype.kind == "S" and values.dtype.itemsize == 1 and values.ndim:
            values = np.ascontiguousarray(values).view(f"S{values.shape[-1]}")[..., 0]
        return np.array([text(v) for v in values.ravel()], dtype=str).reshape(values.shape)

    def without_letters(self) -> "CfVariable":
        """The same with the dimension of letters left away."""
        values = np.asarray(self.values)
        letters = values.dtype.kind == "S" and values.dtype.itemsize == 1 and values.ndim
        return replace(self, dimensions=self.dimensions[:-1]) if letters else self


@dataclass(frozen=True)
class NetcdfSource:
    """A file that has been read: path, global attributes, the root's variables by name, names of variables by group."""

    path: Path
    attributes: Mapping[str, Any]
    variables: dict[str, CfVariable]
    groups: Mapping[str, tuple[str, ...]]


def text(value: Any) -> str:
    """An attribute or entry as text."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else value.tobytes() if value.dtype.kind == "S" else value.tolist()
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")


def in_metres(variable: CfVariable) -> np.ndarray:
    """A coordinate's values [m]; of one without units as they are. ReadingsError for a unit that is no length."""
    try:
        to_metres = conversion(variable.unit() or "m", "m")
    except UnitError:
        raise ReadingsError(
            f"{variable.path}: {variable.name} is in {variable.unit()!r}, expected metres (m)"
        ) from None
    return to_metres.factor * variable.numbers() + to_metres.offset


def upwards(variable: CfVariable) -> float:
    """1 for a vertical axis or component that is positive upwards, −1 downwards.

    By the attribute `positive`, else by the standard name: depth, downward_….

    Raises
    ------
    ReadingsError
        if `positive` is neither up nor down
    """
    standard = text(variable.attributes.get("standard_name", ""))
    usual = "down" if standard.startswith("downward_") or re.search(r"(^|_)depth(_|$)", standard) else "up"
    positive = text(variable.attributes.get("positive", usual)).lower()
    if positive not in ("up", "down"):
        raise ReadingsError(f"{variable.path}: {variable.name} has positive = {positive!r}, expected 'up' or 'down'")
    return 1.0 if positive == "up" else -1.0


def instances(source: NetcdfSource, data: CfVariable) -> tuple[str, np.ndarray] | None:
    """Dimension of the instances, and (obs,) number of the instance that each sample of a ragged array belongs to.

    An instance is a station or trajectory. None where `data` is not ragged.
    """
    for variable in source.variables.values():
        counted, pointing = (text(variable.attributes.get(f"{n}_dimension", "")) for n in ("sample", "instance"))
        if counted and data.dimensions == (counted,):
            counts = variable.integers()
            if (counts < 0).any() or counts.sum() != data.values.size:
                raise ReadingsError(
                    f"{source.path}: {variable.name} counts {counts.sum()} samples, {data.name} has {data.values.size}"
                )
            return variable.dimensions[0], np.repeat(np.arange(len(counts)), counts)
        if pointing and data.dimensions == variable.dimensions:
            return pointing, variable.integers()
    return None


def aligned(
    variable: CfVariable,
    values: np.ndarray,
    data: CfVariable,
    ragged: tuple[str, np.ndarray] | None,
) -> np.ndarray:
    """A variable's values at each sample of a data variable.

    Parameters
    ----------
    variable : CfVariable whose dimensions are meant
    values : its values, converted
    data : CfVariable
    ragged : what `instances` gave for `data`

    Returns
    -------
    array in the shape of the data

    Raises
    ------
    ReadingsError
        if the variable belongs to other dimensions
    """
    values = np.asarray(values)
    if ragged is not None and variable.dimensions == (ragged[0],):
        index = ragged[1]
        if len(index) and not (0 <= index.min() and index.max() < len(values)):
            worst = index.max() if index.max() >= len(values) else index.min()
            raise ReadingsError(
                f"{data.path}: {data.name} belongs to instance {worst}, {variable.name} has {len(values)}"
            )
        return values[index]
    if set(variable.dimensions) <= set(data.dimensions):
        order = sorted(range(values.ndim), key=lambda k: data.dimensions.index(variable.dimensions[k]))
        shape = [
            n if d in variable.dimensions else 1 for d, n in zip(data.dimensions, np.shape(data.values), strict=True)
        ]
        return np.broadcast_to(values.transpose(order).reshape(shape), np.shape(data.values))
    raise ReadingsError(
        f"{data.path}: {variable.name} has dimensions {variable.dimensions}, {data.name} has {data.dimensions}; "
        "expected some of the same, or a ragged array with a variable that has sample_dimension or instance_dimension"
    )
