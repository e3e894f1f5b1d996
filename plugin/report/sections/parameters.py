"""Unknown numbers of the model in time, with what was known of them before: RUN/parameters.csv."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from plugin.report.page.page import Picture, Section, SortableTable, short
from plugin.report.page.svg import AFTER, BUILDING, drawing, svg
from plugin.report.run import Run

_SHOWN = 24
_ZERO = 1e-9  # of the standard deviation: what is left of a mean of zero by rounding
_QUANTILES = ("q05", "q25", "q50", "q75", "q95")
Rows = list[dict[str, str]]


def parameters(run: Run) -> Section | None:
    """The section; None where the run has no parameters."""
    path = run.folder / "parameters.csv"
    if not path.is_file():
        return None
    done = {entry["window"] for entry in run.entries} | {0}
    by_name: dict[str, Rows] = {}
    for row in _rows(path):
        if int(row["window"]) in done:
            by_name.setdefault(row["name"], []).append(row)
    if not by_name:
        return None
    return Section("parameters", "Unknown numbers of the model", [_table(by_name), _pictures(by_name)])


def _rows(path: Path) -> Rows:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _table(by_name: Mapping[str, Rows]) -> SortableTable:
    rows = []
    for name, of in by_name.items():
        prior, last = of[0], of[-1]
        kept = float(last["std"]) / float(prior["std"])
        numbers = (_number(one, key) for one in (prior, last) for key in ("mean", "std", "q05", "q95"))
        rows.append((name, *numbers, kept))
    heads = (
        "parameter", "mean before", "std before", "5 % before", "95 % before", "mean", "std", "5 %", "95 %",
        "std as part of that before",
    )  # fmt: skip
    return SortableTable("What was known before, and what the readings of all windows so far say", heads, rows)


def _number(row: Mapping[str, str], key: str) -> float:
    value = float(row[key])
    return value if abs(value) > _ZERO * float(row["std"]) else 0.0


def _pictures(by_name: Mapping[str, Rows]) -> Picture:
    """Those that are better known than before by the largest factor, where there are too many for all."""
    known = sorted(by_name, key=lambda name: float(by_name[name][-1]["std"]) / float(by_name[name][0]["std"]))
    names: Sequence[str] = [name for name in by_name if name in known[:_SHOWN]]
    columns = 3
    with drawing(9.0, 1.9 * -(-len(names) // columns)) as figure:
        grid = figure.subplots(-(-len(names) // columns), columns, squeeze=False).ravel()
        for ax in grid[len(names) :]:
            ax.remove()
        for ax, name in zip(grid, names, strict=False):
            prior, *windows = by_name[name]
            before = {key: float(prior[key]) for key in _QUANTILES}
            ax.axhspan(before["q05"], before["q95"], color=BUILDING, alpha=0.25, lw=0, label="90 % before")
            ax.axhline(before["q50"], color=BUILDING, lw=0.8)
            time = [float(row["time"]) for row in windows]
            q = {key: np.array([float(row[key]) for row in windows]) for key in _QUANTILES}
            ax.fill_between(time, q["q05"], q["q95"], color=AFTER, alpha=0.2, lw=0, label="90 %")
            ax.fill_between(time, q["q25"], q["q75"], color=AFTER, alpha=0.35, lw=0, label="50 %")
            ax.plot(time, q["q50"], ".-", color=AFTER, lw=1.0, label="median")
            ax.set_title(short(name), fontsize=8, parse_math=False)
        figure.axes[0].legend(fontsize=7)
        figure.supxlabel("time [s]", fontsize=9)
        caption = f"Parameters after each analysis, with what was known of them before: {', '.join(map(short, names))}"
        left = f" The {len(names)} of {len(by_name)} that became known best." if len(names) < len(by_name) else ""
        text = f"{caption}. Grey: where 90 % of the members were before, and their median.{left}"
        return Picture(svg(figure, caption), text)
