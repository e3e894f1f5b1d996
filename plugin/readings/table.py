"""Sensor readings from CSV.

Columns, in any order: time [s of the simulation], x, y, z [m], variable (as in the case file:
Tracer, Velocity.x … or Velocity.speed), value and error (standard deviation), both in the field's
units; and where there are such, station and instrument. A column may name its unit, `x [km]`, and a
column unit may name that of value and error. Each row has its own place, so sensors may move. Further
columns are left alone. Names of columns may have capitals.

Columns are parted by commas, semicolons or tabs, or as a spreadsheet's first line `sep=|` says; numbers have
decimal commas where all have them, and columns are not parted by commas.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from da.observation.observations import Observations
from plugin.readings.common import NO_CHOICE, Choice, ReadingsError
from plugin.readings.names import clean_name
from plugin.readings.units import UnitError, conversion

COLUMNS = ("time", "x", "y", "z", "variable", "value", "error")
OPTIONAL = ("station", "instrument")
_UNIT = ("unit", "units")
_NUMBERS = tuple(column for column in COLUMNS if column != "variable")
_OWN_UNITS = {"time": "s", "x": "m", "y": "m", "z": "m"}
_PARTED = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)
_WITH_UNIT = re.compile(r"\s*(\w+)\s*(?:\[(?P<a>[^]]*)\]|\((?P<b>[^)]*)\))\s*")


def read_table(path: str | Path, choice: Choice = NO_CHOICE) -> Observations:
    """Read a CSV file of sensor readings.

    Parameters
    ----------
    path : the file
    choice : Choice; its errors stand for a column, or an entry, that is missing. Rows of what it does not want are
        left out, whatever else they hold

    Returns
    -------
    Observations, in the order of the rows

    Raises
    ------
    ReadingsError
        on a column that is missing or there twice, a line that is not numbers or has more cells than columns, a unit
        that cannot be converted, a name that cannot be shown, or an error that is not positive
    """
    path = Path(path)
    try:
        header, lines, decimal_comma = _rows(path)
    except UnicodeDecodeError as error:
        raise ReadingsError(f"{path}: cannot be read: {error}; save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise ReadingsError(f"{path}: cannot be read: {error}") from None
    columns, units = _columns(path, header, choice)
    decimal_comma = decimal_comma and _one_decimal_sign(path, columns, lines)
    rows = []
    for number, cells in lines:
        where = f"{path}, line {number}"
        if any(cell.strip() for cell in cells[len(header) :]):
            raise ReadingsError(
                f"{where}: {len(cells)} cells, the header has {len(header)} columns; are there commas within cells?"
            )
        row = {name: cells[k] if k < len(cells) else None for name, k in columns.items()}
        variable = _variable(row, where, choice)
        if choice.wants(variable):
            rows.append(_reading(row, variable, units, where, choice, decimal_comma))
        else:
            choice.left_out(variable)
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


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], bool]:
    """Header, (line, cells) of the rows that are not empty, and whether a decimal comma can be."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        above, first = 0, file.readline()
        while first and not first.strip(" ,;\t\r\n"):
            above, first = above + 1, file.readline()
        parting = max(",;\t", key=first.count)
        if said := _PARTED.fullmatch(first.rstrip("\r\n")):
            parting, above, first = said[1], above + 1, file.readline()
        reader = csv.reader(chain([first], file), delimiter=parting, skipinitialspace=True, strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        rows = [(above + reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    return header, rows, parting != ","


def _columns(path: Path, header: list[str], choice: Choice) -> tuple[dict[str, int], dict[str, str]]:
    """Places of the columns that are used, and the units that the header names."""
    columns: dict[str, int] = {}
    units: dict[str, str] = {}
    for k, cell in enumerate(header):
        match = _WITH_UNIT.fullmatch(cell)
        name, unit = (match[1], (match["a"] or match["b"] or "").strip()) if match else (cell, "")
        name = name.lower()
        if name not in (*COLUMNS, *OPTIONAL, *_UNIT):
            continue
        if name in _UNIT:
            name = "unit"
        if name in columns:
            raise ReadingsError(f"{path}, line 1: column {name!r} is there twice; leave one of them out")
        columns[name] = k
        if unit and name in _NUMBERS:
            units[name] = unit
    needed = [c for c in COLUMNS if not (c == "error" and choice.errors)]
    missing = [c for c in needed if c not in columns]
    if missing:
        raise ReadingsError(
            f"{path}, line 1: no column {missing[0]!r}; found {header or None}, expected {list(needed)}, parted by "
            "commas, semicolons or tabs"
        )
    return columns, units


def _one_decimal_sign(path: Path, columns: Mapping[str, int], lines: Sequence[tuple[int, list[str]]]) -> bool:
    """True; ReadingsError if some numbers have commas and others points: a comma may then be of thousands."""
    first: dict[str, str] = {}
    for number, cells in lines:
        for name in _NUMBERS:
            cell = cells[columns[name]] if name in columns and columns[name] < len(cells) else ""
            for sign in ",.":
                if sign in cell:
                    first.setdefault(sign, f"{cell!r} in line {number}")
    if len(first) == 2:
        raise ReadingsError(
            f"{path}: numbers have decimal commas and points, {first[',']} and {first['.']}; expected one of the two"
        )
    return True


def _variable(row: Mapping[str, str | None], where: str, choice: Choice) -> str:
    """The case's name of what a row is of."""
    cell = row["variable"]
    if cell is None:  # a line that is too short: its first cell that is missing is named
        short = next(name for name in COLUMNS if row[name] is None)
        raise ReadingsError(f"{where}: column {short!r} is None, expected a number")
    name = clean_name(cell, f"{where}, column 'variable'")
    if not name:
        raise ReadingsError(f"{where}: column 'variable' is {cell!r}, expected the name of what was read")
    return choice.names.get(name, name)


def _reading(
    row: Mapping[str, str | None],
    variable: str,
    units: Mapping[str, str],
    where: str,
    choice: Choice,
    decimal_comma: bool,
) -> tuple[list[float], list[str]]:
    """([time, x, y, z, value, error], [variable, station, instrument])."""
    place = [
        _converted(_number(row[column], column, where, decimal_comma), units.get(column, ""), column, where)
        for column in _OWN_UNITS
    ]
    unit = _unit_of(row, units, where)
    to_model = choice.to_model(variable, unit, where)
    value = to_model.factor * _number(row["value"], "value", where, decimal_comma) + to_model.offset
    if choice.errors and not (row.get("error") or "").strip():
        error = choice.error_of(variable, where)
    else:
        # a difference: degC of an error are K; one without a unit has that of its value
        factor = choice.to_model(variable, units.get("error", unit), where).factor
        error = factor * _number(row["error"], "error", where, decimal_comma)
    if error <= 0:
        raise ReadingsError(f"{where}: error is {row['error']}, expected a standard deviation above zero")
    names = [clean_name(row.get(name) or "", f"{where}, column {name!r}") for name in OPTIONAL]
    return [*place, value, error], [variable, *names]


def _unit_of(row: Mapping[str, str | None], units: Mapping[str, str], where: str) -> str:
    """The unit of a row's value: its own, or the header's; ReadingsError if both are there and differ."""
    own, of_header = (row.get("unit") or "").strip(), units.get("value", "")
    if own and of_header and own != of_header:
        raise ReadingsError(
            f"{where}: column 'unit' is {own!r}, the header says that values are in {of_header!r}; "
            "leave one of them out"
        )
    return own or of_header


def _number(cell: str | None, column: str, where: str, decimal_comma: bool) -> float:
    try:
        if cell is None or "_" in cell:
            raise ValueError
        number = float(cell.replace(",", ".") if decimal_comma else cell)
    except ValueError:
        raise ReadingsError(f"{where}: column {column!r} is {cell!r}, expected a number") from None
    if not np.isfinite(number):
        raise ReadingsError(f"{where}: column {column!r} is {cell!r}, expected a finite number")
    return number


def _converted(number: float, unit: str, column: str, where: str) -> float:
    if not unit:
        return number
    try:
        return conversion(unit, _OWN_UNITS[column]).factor * number
    except UnitError:
        raise ReadingsError(
            f"{where}: column {column!r} is in {unit!r}, expected {_OWN_UNITS[column]!r} or what converts to it"
        ) from None
