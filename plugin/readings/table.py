"""Sensor readings from CSV.

Columns, in any order: time [s of the simulation], x, y, z [m], variable (as in the case file:
Tracer, Velocity.x … or Velocity.speed), value and error (standard deviation), both in the field's
units; and where there are such, station and instrument. Each row has its own place, so sensors may
move. Further columns are left alone.
"""

import csv
from pathlib import Path

import numpy as np

from da.observation.observations import Observations
from plugin.readings.common import NO_CHOICE, Choice, ReadingsError

COLUMNS = ("time", "x", "y", "z", "variable", "value", "error")
OPTIONAL = ("station", "instrument")


def read_table(path: str | Path, choice: Choice = NO_CHOICE) -> Observations:
    """Read a CSV file of sensor readings.

    Parameters
    ----------
    path : the file
    choice : Choice; its errors stand for a column, or an entry, that is missing

    Returns
    -------
    Observations, in the order of the rows

    Raises
    ------
    ReadingsError
        on a missing column, or a line that is not numbers, or an error that is not positive
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            needed = [c for c in COLUMNS if not (c == "error" and choice.errors)]
            missing = [c for c in needed if c not in (table.fieldnames or ())]
            if missing:
                raise ReadingsError(
                    f"{path}, line 1: no column {missing[0]!r}; found {table.fieldnames}, expected {list(needed)}"
                )
            rows = [_reading(row, f"{path}, line {table.line_num}", choice) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadingsError(f"{path}: cannot be read: {error}") from None
    numbers = np.array([row[0] for row in rows], dtype=float).reshape(-1, 6)
    names = np.array([row[1] for row in rows], dtype=str).reshape(-1, 3)
    return Observations(
        time=numbers[:, 0],
        position=numbers[:, 1:4],
        variable=names[:, 0],
        value=numbers[:, 4],
        error=numbers[:, 5],
        station=names[:, 1],
        instrument=names[:, 2],
    )


def _reading(row, where, choice):
    """([time, x, y, z, value, error], [variable, station, instrument])."""
    variable = (row["variable"] or "").strip()
    variable = choice.names.get(variable, variable)
    numbers = {}
    for column in COLUMNS:
        if column == "variable":
            continue
        if column == "error" and choice.errors and not (row.get(column) or "").strip():
            numbers[column] = choice.error_of(variable, where)
            continue
        try:
            numbers[column] = float(row[column])
        except (TypeError, ValueError):
            raise ReadingsError(f"{where}: column {column!r} is {row[column]!r}, expected a number") from None
        if not np.isfinite(numbers[column]):
            raise ReadingsError(f"{where}: column {column!r} is {row[column]!r}, expected a finite number")
    if numbers["error"] <= 0:
        raise ReadingsError(f"{where}: error is {row['error']}, expected a standard deviation above zero")
    return list(numbers.values()), [variable, *((row.get(name) or "").strip() for name in OPTIONAL)]
