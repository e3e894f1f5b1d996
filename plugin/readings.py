"""Sensor readings from CSV.

Columns, in any order: time [s of the simulation], x, y, z [m], variable (as in the case file:
Tracer, Velocity.x …), value and error (standard deviation), both in the field's units. Further
columns, such as a station's name, are left alone.
"""

import csv
from pathlib import Path

import numpy as np

from da.observations import Observations

COLUMNS = ("time", "x", "y", "z", "variable", "value", "error")


class ReadingsError(ValueError):
    """A file of readings that cannot be used; the message names file and line."""


def read_readings(path):
    """Read a CSV file of sensor readings.

    Returns
    -------
    Observations, ordered by time

    Raises
    ------
    ReadingsError
        on a missing column, or a line that is not numbers, or an error that is not positive
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [c for c in COLUMNS if c not in (table.fieldnames or ())]
            if missing:
                raise ReadingsError(
                    f"{path}, line 1: no column {missing[0]!r}; found {table.fieldnames}, expected {list(COLUMNS)}"
                )
            rows = [_reading(row, f"{path}, line {table.line_num}") for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadingsError(f"{path}: cannot be read: {error}") from None
    rows.sort(key=lambda row: row[0])
    numbers = np.array([row[:4] + row[5:] for row in rows], dtype=float).reshape(-1, 6)
    return Observations(
        time=numbers[:, 0],
        position=numbers[:, 1:4],
        variable=np.array([row[4] for row in rows], dtype=str),
        value=numbers[:, 4],
        error=numbers[:, 5],
    )


def _reading(row, where):
    numbers = {}
    for column in COLUMNS:
        if column == "variable":
            continue
        try:
            numbers[column] = float(row[column])
        except (TypeError, ValueError):
            raise ReadingsError(f"{where}: column {column!r} is {row[column]!r}, expected a number") from None
        if not np.isfinite(numbers[column]):
            raise ReadingsError(f"{where}: column {column!r} is {row[column]!r}, expected a finite number")
    if numbers["error"] <= 0:
        raise ReadingsError(f"{where}: error is {row['error']}, expected a standard deviation above zero")
    return (*[numbers[c] for c in ("time", "x", "y", "z")], row["variable"].strip(), numbers["value"], numbers["error"])
