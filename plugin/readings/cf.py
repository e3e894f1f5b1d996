"""The part of the CF conventions that readings need: units, times, missing values, shapes of samples."""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from plugin.readings.common import ReadingsError

_METRES = {"": 1.0, "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "km": 1000.0}
_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")


@dataclass(frozen=True)
class CfVariable:
    """A variable of a file: its name, names of its dimensions, attributes, and raw values."""

    name: str
    dimensions: tuple[str, ...]
    attributes: dict
    values: np.ndarray

    def numbers(self):
        """Values as float64 in the file's units, NaN where missing."""
        raw = np.asarray(self.values)
        missing = np.zeros(raw.shape, bool)
        for name in ("_FillValue", "missing_value"):
            if name in self.attributes:
                missing |= np.isin(raw, np.asarray(self.attributes[name]))
        packing = (("scale_factor", 1.0), ("add_offset", 0.0))
        scale, offset = (float(np.ravel(self.attributes.get(name, usual))[0]) for name, usual in packing)
        return np.where(missing, np.nan, raw.astype(np.float64) * scale + offset)

    def words(self):
        """Values as texts; of letters along a last dimension, whole words."""
        values = np.asarray(self.values)
        if values.dtype.kind == "S" and values.dtype.itemsize == 1 and values.ndim:
            values = np.ascontiguousarray(values).view(f"S{values.shape[-1]}")[..., 0]
        return np.array([text(v) for v in values.ravel()], dtype=str).reshape(values.shape)

    def without_letters(self):
        """The same with the dimension of letters left away."""
        values = np.asarray(self.values)
        letters = values.dtype.kind == "S" and values.dtype.itemsize == 1 and values.ndim
        return replace(self, dimensions=self.dimensions[:-1]) if letters else self


@dataclass(frozen=True)
class NetcdfSource:
    """A file that has been read: path, global attributes, variables by name."""

    path: Path
    attributes: dict
    variables: dict[str, CfVariable]


def text(value):
    """An attribute or entry as text."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else value.tobytes() if value.dtype.kind == "S" else value.tolist()
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")


def in_metres(variable, path):
    """A coordinate's values [m]; ReadingsError for another unit of length, or none."""
    unit = text(variable.attributes.get("units", ""))
    if unit not in _METRES:
        raise ReadingsError(f"{path}: {variable.name} is in {unit!r}, expected metres (m)")
    return _METRES[unit] * variable.numbers()


def seconds(variable, epoch, path):
    """Times as seconds of the simulation.

    Parameters
    ----------
    variable : in seconds, minutes, hours or days, of the simulation, or since a date
    epoch : datetime of the simulation's zero, needed for times since a date; without a zone it is UTC
    path : for messages

    Raises
    ------
    ReadingsError
        if unit, date or calendar cannot be understood, or there is no epoch to compare a date with
    """
    unit = text(variable.attributes.get("units", "s"))
    measure, since, date = (part.strip() for part in re.match(r"(.*?)(\bsince\b|$)(.*)", unit, re.S).groups())
    if measure.lower() not in _SECONDS:
        raise ReadingsError(f"{path}: {variable.name} is in {unit!r}, expected seconds, or seconds since a date")
    found = _SECONDS[measure.lower()] * variable.numbers()
    if not since:
        return found
    if epoch is None:
        raise ReadingsError(
            f"{path}: {variable.name} is in {unit!r}, and which date the simulation's time zero is is not known; "
            "give it in the case file (observations: epoch: 2020-01-31T12:00:00)"
        )
    calendar = text(variable.attributes.get("calendar", "standard"))
    if calendar.lower() not in _CALENDARS:
        known = ", ".join(_CALENDARS)
        raise ReadingsError(f"{path}: {variable.name} has calendar {calendar!r}, expected one of {known}")
    return found + (_date(date, variable.name, path) - _utc(epoch)).total_seconds()


def _date(words, name, path):
    plain = re.sub(r"\s*(UTC|GMT|Z)$", "+00:00", words.strip())
    try:
        return _utc(datetime.fromisoformat(plain))
    except ValueError:
        expected = "expected a date like 2020-01-31 12:00:00"
        raise ReadingsError(f"{path}: {name} counts since {words!r}, {expected}") from None


def _utc(date):
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def instances(source, data):
    """(obs,) number of the instance, a station or trajectory, that each sample of a ragged array belongs to.

    None where `data` is not ragged.
    """
    for variable in source.variables.values():
        counted, pointing = (text(variable.attributes.get(f"{n}_dimension", "")) for n in ("sample", "instance"))
        if counted and data.dimensions == (counted,):
            counts = np.asarray(variable.values, dtype=np.int64)
            if (counts < 0).any() or counts.sum() != data.values.size:
                raise ReadingsError(
                    f"{source.path}: {variable.name} counts {counts.sum()} samples, {data.name} has {data.values.size}"
                )
            return variable.dimensions[0], np.repeat(np.arange(len(counts)), counts)
        if pointing and data.dimensions == variable.dimensions:
            return pointing, np.asarray(variable.values, dtype=np.int64)
    return None


def aligned(variable, values, data, ragged, path):
    """A variable's values at each sample of a data variable.

    Parameters
    ----------
    variable : CfVariable whose dimensions are meant
    values : its values, converted
    data : CfVariable
    ragged : what `instances` gave for `data`
    path : for messages

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
            raise ReadingsError(f"{path}: {data.name} belongs to instance {worst}, {variable.name} has {len(values)}")
        return values[index]
    if set(variable.dimensions) <= set(data.dimensions):
        order = sorted(range(values.ndim), key=lambda k: data.dimensions.index(variable.dimensions[k]))
        shape = [n if d in variable.dimensions else 1 for d, n in zip(data.dimensions, np.shape(data.values))]
        return np.broadcast_to(values.transpose(order).reshape(shape), np.shape(data.values))
    raise ReadingsError(
        f"{path}: {variable.name} has dimensions {variable.dimensions}, {data.name} has {data.dimensions}; expected "
        "some of the same, or a ragged array with a variable that has sample_dimension or instance_dimension"
    )
