"""The result of an experiment as CSV, JSON, Markdown and a figure; a file is complete or not there.

OUTPUT/NAME.csv, or NAME-1.csv, NAME-2.csv … for several tables
OUTPUT/NAME.json             tables, protocol and conditions
OUTPUT/NAME.md               the same for reading
OUTPUT/NAME.png, NAME.svg    the figure
"""

import csv
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from coupling.common.files import whole_file
from plugin.experiment import mack_2020

_LIBRARIES = ("fluidity-da", "numpy", "petsc4py", "torch")


@dataclass(frozen=True)
class ScoreTable:
    """A table of scores.

    title : heading of the table
    columns : {key: heading} of what Markdown shows, {} for nothing; key_std holds a key's standard deviation
    rows : dicts of scores; a row may lack a key
    """

    title: str
    columns: dict[str, str]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """The result of an experiment.

    name : of the experiment, and of its files
    tables : of scores
    draw : function that draws the result into a Figure
    """

    name: str
    tables: tuple[ScoreTable, ...]
    draw: Callable[[Figure], None]


def write(result: Result, folder: Path, about: dict[str, Any]) -> str:
    """Write all files of a result.

    Parameters
    ----------
    folder : created if missing
    about : with `protocol`, `states` and `conditions`

    Returns
    -------
    the Markdown
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k, table in enumerate(result.tables, 1):
        number = f"-{k}" if len(result.tables) > 1 else ""
        _write_csv(folder / f"{result.name}{number}.csv", table.rows)
    tables = [{"title": table.title, "rows": table.rows} for table in result.tables]
    _write_text(folder / f"{result.name}.json", json.dumps({**about, "tables": tables}, indent=1) + "\n")
    text = markdown(result, about)
    _write_text(folder / f"{result.name}.md", text)
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    result.draw(figure)
    for suffix in (".png", ".svg"):
        with whole_file(folder / f"{result.name}{suffix}") as beside:
            figure.savefig(beside, dpi=120)
    return text


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, keys)
        table.writeheader()
        table.writerows(rows)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def markdown(result: Result, about: dict[str, Any]) -> str:
    """Tables and their protocol as Markdown."""
    parts = []
    for table in (table for table in result.tables if table.columns):
        cells = [[_cell(row, key) for key in table.columns] for row in table.rows]
        rule = ["---"] + ["---:"] * (len(table.columns) - 1)
        lines = ["| " + " | ".join(line) + " |" for line in (table.columns.values(), rule, *cells)]
        parts.append(f"### {table.title}\n\n" + "\n".join(lines) + "\n")
    parts.append(f"![{result.name}]({result.name}.png)\n")
    for name, items in about.items():
        parts.append(
            f"{name.capitalize()}: " + ", ".join(f"{key} {_word(value)}" for key, value in items.items()) + ".\n"
        )
    parts.append(f"{mack_2020.NOTE}\n")
    return "\n".join(parts)


def _cell(row: dict[str, Any], key: str) -> str:
    value, spread = row.get(key), row.get(f"{key}_std")
    if value is None:
        return ""
    return f"{_word(value)} ± {spread:.1g}" if spread is not None else _word(value)


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(_word, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def conditions() -> dict[str, Any]:
    """The machine and its load."""
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
        **{name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
