"""The tables of readings that a run's windows leave, read back as columns."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plugin.readings import ReadingsError
from plugin.readings.names import from_cell

NUMBERS = ("time", "x", "y", "z", "value", "error", "innovation", "residual")
NAMES = ("station", "variable", "used")


def read_tables(run: Path, more: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """All readings of a run, from its windows' tables.

    Parameters
    ----------
    run : folder of the run
    more : names of further columns of numbers that all tables have

    Returns
    -------
    {"window": (N,) int, NUMBERS and `more`: (N,) float, NaN where the table has none, NAMES: (N,) str}

    Raises
    ------
    ReadingsError
        if there is no table, or one is no table of a window
    """
    paths = sorted(p for p in Path(run).glob("*/readings.csv") if p.parent.name.isdecimal())
    if not paths:
        raise ReadingsError(f"{run}: no window's readings.csv is there; expected the folder of a run of plugin.cycle")
    parts = [_columns(path, more) for path in paths]
    return {name: np.concatenate([part[name] for part in parts]) for name in ("window", *NUMBERS, *more, *NAMES)}


def _columns(path, more):
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    try:
        text = {name: [row[head.index(name)] for row in rows] for name in (*NUMBERS, *more, *NAMES)}
        columns = {name: np.array([cell or "nan" for cell in text[name]], dtype=float) for name in (*NUMBERS, *more)}
    except (IndexError, ValueError) as error:
        raise ReadingsError(f"{path}: no table of a window: {error}") from None
    columns |= {name: np.array([from_cell(cell) for cell in text[name]], dtype=str) for name in NAMES}
    return columns | {"window": np.full(len(rows), int(path.parent.name))}
