"""What an experiment found, as CSV, JSON, Markdown and a figure; each file whole or not at all.

    OUTPUT/NAME.csv, or NAME-1.csv, NAME-2.csv … of several tables
    OUTPUT/NAME.json             tables, protocol and conditions
    OUTPUT/NAME.md               the same to read
    OUTPUT/NAME.png, NAME.svg    the figure
"""

import csv
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from matplotlib.figure import Figure

from coupling.common.files import whole_file
from plugin.experiment import mack_2020

_LIBRARIES = ("fluidity-da", "numpy", "petsc4py", "torch")


@dataclass(frozen=True)
class ScoreTable:
    """Rows of figures.

    title : what they are
    columns : {key: heading} of what Markdown shows, {} for nothing; a key's standard deviation lies under key_std
    rows : list of dicts; those that lack a key have no such figure
    """

    title: str
    columns: dict
    rows: list


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    name : of the experiment, and of its files
    tables : tuple of ScoreTable
    draw : function of a Figure that draws it
    """

    name: str
    tables: tuple[ScoreTable, ...]
    draw: Callable


def write(result, folder, about):
    """Write all files of a result.

    Parameters
    ----------
    result : Result
    folder : made if it is not there
    about : dict with `protocol`, `states` and `conditions`

    Returns
    -------
    str, the Markdown
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


def _write_csv(path, rows):
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, keys)
        table.writeheader()
        table.writerows(rows)


def _write_text(path, text):
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def markdown(result, about):
    """Tables, and the protocol they were made by, as Markdown."""
    parts = []
    for table in (table for table in result.tables if table.columns):
        cells = [[_cell(row, key) for key in table.columns] for row in table.rows]
        rule = ["---"] + ["---:"] * (len(table.columns) - 1)
        lines = ["| " + " | ".join(line) + " |" for line in (table.columns.values(), rule, *cells)]
        parts.append(f"### {table.title}\n\n" + "\n".join(lines) + "\n")
    parts.append(f"![{result.name}]({result.name}.png)\n")
    for name, of in about.items():
        parts.append(f"{name.capitalize()}: " + ", ".join(f"{key} {_word(value)}" for key, value in of.items()) + ".\n")
    parts.append(f"{mack_2020.NOTE}\n")
    return "\n".join(parts)


def _cell(row, key):
    value, spread = row.get(key), row.get(f"{key}_std")
    if value is None:
        return ""
    return f"{_word(value)} ± {spread:.1g}" if spread is not None else _word(value)


def _word(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(_word, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def conditions():
    """The machine, and how busy it is."""
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d"),
        **{name: _version(name) for name in _LIBRARIES},
    }


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
