"""Names of stations, instruments and variables: as files give them, and in tables that a spreadsheet may open."""

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from plugin.readings.common import ReadingsError

LONGEST = 100  # letters that a line of a terminal, a table and a picture's legend bear
_COLUMNS = ("station", "variable", "instrument")
_FORMULA = re.compile(r"[=+\-@]")  # a cell that begins so is run by a spreadsheet


def clean_name(name: str, where: str) -> str:
    """A name without blanks around it, any blank within one space.

    Raises
    ------
    ReadingsError
        if it has characters that a terminal does not print, or more than LONGEST; `where` names the place in the file
    """
    try:
        return _clean(name)
    except ValueError as error:
        raise ReadingsError(f"{where}: {error}") from None


@lru_cache(maxsize=4096)
def _clean(name: str) -> str:
    clean = " ".join(from_cell(name).split())
    hidden = next((letter for letter in clean if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Cn")), None)
    if hidden is not None:
        raise ValueError(f"{clean[:20]!r} has the control character {hidden!r}; take it out of the name")
    if len(clean) > LONGEST:
        raise ValueError(
            f"{clean[:20]!r}… has {len(clean):,} characters, expected a name of at most {LONGEST}; shorten it"
        )
    return clean


def clean_names(names: np.ndarray, where: str) -> np.ndarray:
    """The same of an array of names, each different one looked at once."""
    different, which = np.unique(names, return_inverse=True)
    return np.array([clean_name(str(name), where) for name in different], dtype=str)[which.reshape(np.shape(names))]


def as_cell(name: str) -> str:
    """A name as a cell of a table: before a sign that begins a formula stands an apostrophe."""
    return f"'{name}" if _FORMULA.match(name) else name


def from_cell(cell: str) -> str:
    """The name of a cell that `as_cell` made."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell


def as_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A table's row with its names as cells."""
    return {key: as_cell(value) if key in _COLUMNS and value else value for key, value in row.items()}
