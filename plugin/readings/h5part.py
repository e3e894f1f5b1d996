"""Readings from the detectors of a Fluidity run in H5Part: `NAME.detectors.h5part`, which versions since 2022 write.

A group `Step#k` for each time has the attribute `time`, the detectors' numbers `id`, their places `x`, `y`, `z`, and
of each field a dataset `Phase%Field`, of vectors one for each component, `Phase%Velocity%x`. Attributes of the file say
which numbers a detector or an array of detectors has: `mast%ids`. Detectors of an array are `mast_1`, `mast_2` …
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from coupling.common.hdf5 import claim_problem, elsewhere_problem
from da.observation.observations import Observations
from plugin.readings.common import NO_CHOICE, Choice, ReadingsError, joined
from plugin.readings.detectors import chosen_name
from plugin.readings.names import clean_name

_STEP, _IDS, _PARTS = "Step#", "%ids", "%"
_PLACES = ("x", "y", "z")


def read_h5part(path: str | Path, choice: Choice = NO_CHOICE) -> Observations:
    """Read a Fluidity detector series in H5Part.

    Parameters
    ----------
    path : NAME.detectors.h5part
    choice : Choice; its errors are needed, since the file has none. The names of fields are its variables, of vectors
        with the component: Tracer, Velocity.x; of several material phases with the phase: Dust::Tracer

    Returns
    -------
    Observations; stations are the detectors' names. Values that are not finite are left out

    Raises
    ------
    ReadingsError
        if it is no such file or damaged, or if no wanted variable is there
    """
    path = Path(path)
    try:
        with h5py.File(path, "r") as file:
            if (problem := elsewhere_problem(file)) is not None:
                raise ReadingsError(f"{path}: {problem}")
            return _read(path, file, choice)
    # what h5py raises on files that are damaged or no HDF5 at all
    except (OSError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        raise ReadingsError(f"{path}: cannot be read: {error}; expected H5Part, as Fluidity writes it") from None


def _read(path: Path, file: h5py.File, choice: Choice) -> Observations:
    steps = sorted((name for name in file if name.startswith(_STEP)), key=lambda name: _number(path, name))
    if not steps:
        raise ReadingsError(
            f"{path}: has no {_STEP}0, the first time of detectors; expected H5Part, as Fluidity writes it"
        )
    stations = _stations(path, file)
    parts, found = [], set()
    for step in steps:
        at = f"{path}, {step}"
        group = file[step]
        time = _one_number(at, group.attrs.get("time"))
        number = _values(at, group, "id").astype(np.int64)
        position = np.zeros((len(number), 3))
        for k, axis in enumerate(_PLACES):
            if axis in group:
                position[:, k] = _values(at, group, axis, len(number))
        names = [name for name in group if _PARTS in name]
        found |= set(names)
        several = len({name.partition(_PARTS)[0] for name in names}) > 1
        for name in names:
            variable = _variable(name, several, choice)
            if choice.wants(variable):
                parts.append(
                    _part(at, variable, _values(at, group, name, len(number)), time, number, position, stations)
                )
                parts[-1]["error"] = np.full(len(parts[-1]["value"]), choice.error_of(variable, str(path)))
    if not parts:
        has = sorted({_variable(name, False, NO_CHOICE) for name in found})
        raise ReadingsError(f"{path}: no detector has a wanted variable; found {has}, expected {choice.variables}")
    return joined(parts)


def _part(at, variable, value, time, number, position, stations) -> dict[str, np.ndarray]:
    kept = np.isfinite(value) & np.isfinite(position).all(axis=1)
    unknown = [int(k) for k in number[kept] if int(k) not in stations]
    if unknown:
        raise ReadingsError(f"{at}: detector {unknown[0]} has no name; expected its number in an attribute NAME{_IDS}")
    n = int(kept.sum())
    return {
        "time": np.full(n, time),
        "position": position[kept],
        "variable": np.full(n, variable),
        "value": value[kept],
        "station": np.array([stations[int(k)] for k in number[kept]], dtype=str),
        "instrument": np.full(n, ""),
    }


def _stations(path: Path, file: h5py.File) -> dict[int, str]:
    """{number of a detector: its name}."""
    stations: dict[int, str] = {}
    for attribute in file.attrs:
        if attribute.endswith(_IDS):
            name, numbers = attribute.removesuffix(_IDS), np.ravel(file.attrs[attribute])
            for k, number in enumerate(numbers, start=1):
                own = name if len(numbers) == 1 else f"{name}_{k}"
                stations[int(number)] = clean_name(own, str(path))
    return stations


def _variable(name: str, several: bool, choice: Choice) -> str:
    """The case's name of a dataset `Phase%Field` or `Phase%Field%x`."""
    phase, *of = name.split(_PARTS)
    variable = ".".join(of)
    return chosen_name(f"{phase}::{variable}" if several else variable, phase, choice)


def _values(at: str, group: Any, name: str, n: int | None = None) -> np.ndarray:
    """(n,) numbers of a dataset."""
    values = group.get(name)
    if not isinstance(values, h5py.Dataset) or values.dtype.kind not in "fiu" or values.ndim != 1:
        raise ReadingsError(f"{at}: no dataset {name!r} of numbers in a row; expected one for each detector")
    if (problem := claim_problem(values)) is not None:
        raise ReadingsError(f"{at}: {name} {problem}; was it written whole?")
    if n is not None and len(values) != n:
        raise ReadingsError(f"{at}: {name} has {len(values)} values, id {n}; expected one for each detector")
    return values[...].astype(np.float64)


def _one_number(at: str, value: Any) -> float:
    numbers = np.ravel(value) if value is not None else np.empty(0)
    if len(numbers) != 1 or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers[0]):
        raise ReadingsError(f"{at}: its attribute 'time' is {value!r}, expected one time [s]")
    return float(numbers[0])


def _number(path: Path, step: str) -> int:
    digits = step.removeprefix(_STEP)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ReadingsError(f"{path}: has a group {step!r}, expected {_STEP}0, {_STEP}1 …")
    return int(digits)
