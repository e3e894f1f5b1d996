"""Are the members as uncertain as they are wrong: spread beside error, ranks of readings, CRPS, forecasts as fans."""

from collections.abc import Mapping, Sequence

import numpy as np

from coupling.common.text import counted
from plugin.report.members import has_members, scores
from plugin.report.page.page import Block, Picture, Section, SortableTable, Text, short
from plugin.report.page.svg import AFTER, BEFORE, BUILDING, OTHER, drawing, svg
from plugin.report.run import Run

_SHOWN = 9  # sensors with a fan
_NEAR = 1.5  # a ratio of error and spread within which nothing need be done
Columns = Mapping[str, np.ndarray]


def ensemble(run: Run) -> Section | None:
    """The section; None where the run has one model, or no reading was compared with the members."""
    if not has_members(run):
        return None
    table = scores(run)
    table = _some(table, np.isfinite(table["spread"]) & np.isin(table["used"], ["yes", "no: withheld"]))
    if len(table["spread"]) == 0:
        return None
    names, members = np.unique(table["variable"]).tolist(), len(run.last["members"])
    blocks: list[Block] = [*_verdicts(table, names), _table(table, names), _in_time(table, names)]
    blocks += [_ranks(table, names, members), _fans(table)]
    return Section("ensemble", f"Are the {members} members as uncertain as they are wrong?", blocks)


def _some(table: Columns, which: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[which] for name, column in table.items()}


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _expected(table: Columns) -> np.ndarray:
    """Standard deviations of reading less mean that spread and readings' errors let expect."""
    return np.hypot(table["spread"], table["error"])


def _verdicts(table: Columns, names: Sequence[str]) -> list[Text]:
    texts = []
    for name in names:
        of = _some(table, table["variable"] == name)
        ratio = _rms(of["innovation"] / _expected(of))
        text = f"{name}: forecasts are {ratio:.2g} times as far from the readings as spread and readings' errors say"
        if ratio > _NEAR:
            texts.append(Text(f"{text}. The spread is too small: inflation, more members, or larger errors.", "fair"))
        elif ratio < 1.0 / _NEAR:
            texts.append(Text(f"{text}. The spread, or the readings' errors, are larger than need be.", "fair"))
        else:
            texts.append(Text(f"{text}.", "good"))
    return texts


def _table(table: Columns, names: Sequence[str]) -> SortableTable:
    rows = []
    for name in names:
        for use, words in (("yes", "used"), ("no: withheld", "withheld")):
            of = _some(table, (table["variable"] == name) & (table["used"] == use))
            if (n := len(of["spread"])) == 0:
                continue
            last = _some(of, of["window"] == of["window"].max())
            rows.append(
                (
                    name, words, n, _rms(of["innovation"]), _rms(_expected(of)), _rms(of["spread"]),
                    _rms(of["analysis_spread"]), float(of["crps"].mean()), float(last["crps"].mean()),
                )
            )  # fmt: skip
    heads = (
        "variable", "use", "readings", "rms of reading − mean of forecasts", "expected", "spread of forecasts",
        "spread of analyses", "CRPS of forecasts", "CRPS, last window",
    )  # fmt: skip
    return SortableTable("Error and spread at the sensors, in the variables' units", heads, rows, 2)


def _in_time(table: Columns, names: Sequence[str]) -> Picture:
    with drawing(9.0, 2.6) as figure:
        for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            of = _some(table, table["variable"] == name)
            windows = np.unique(of["window"])
            each = [_some(of, of["window"] == window) for window in windows]
            time = [float(one["time"].mean()) for one in each]
            lines = (
                ("error of the mean", BEFORE, "-", [_rms(one["innovation"]) for one in each]),
                ("expected", OTHER, "--", [_rms(_expected(one)) for one in each]),
                ("spread", AFTER, "-", [_rms(one["spread"]) for one in each]),
                ("spread of analyses", BUILDING, "-", [_rms(one["analysis_spread"]) for one in each]),
            )
            for label, colour, style, values in lines:
                ax.plot(time, values, style, marker=".", color=colour, label=label)
            ax.set(title=name, xlabel="time [s]", ylim=(0, None))
        figure.axes[0].legend(fontsize=7)
        caption = f"Error of the forecasts' mean at the sensors over time beside the spread, for {', '.join(names)}"
        text = (
            f"{caption}, in their units. Expected is what spread and readings' errors together make, √(spread² + "
            "error²); the error of the mean should be like it."
        )
        return Picture(svg(figure, caption), text)


def _ranks(table: Columns, names: Sequence[str], members: int) -> Picture:
    with drawing(9.0, 2.2) as figure:
        for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            ranks = table["rank"][table["variable"] == name].astype(int)
            counts = np.bincount(ranks, minlength=members + 1)
            ax.bar(np.arange(members + 1), counts, width=0.9, color=AFTER)
            ax.axhline(len(ranks) / (members + 1), color=BUILDING, lw=1.0)
            ax.set(title=name, xlabel="members below the reading")
        figure.axes[0].set_ylabel("readings")
        caption = f"How many members, with draws of the readings' errors, lie below the reading: {', '.join(names)}"
        text = (
            f"{caption}. Flat, at the line, where the spread is right; a U where it is too small, a hill where it is "
            "too large; high at the right where forecasts are too low, at the left where they are too high."
        )
        return Picture(svg(figure, caption), text)


def _fans(table: Columns) -> Picture:
    """Quantiles of the forecasts at the sensors that are farthest from them."""
    label = np.char.add(np.char.add(_sensors(table), "  "), table["variable"])
    names, number = np.unique(label, return_inverse=True)
    distance = np.bincount(number, (table["innovation"] / _expected(table)) ** 2) / np.bincount(number)
    shown = [str(names[k]) for k in np.argsort(-distance, kind="stable")[:_SHOWN]]
    columns = 3
    with drawing(9.0, 1.9 * -(-len(shown) // columns)) as figure:
        grid = figure.subplots(-(-len(shown) // columns), columns, squeeze=False, sharex=True).ravel()
        for ax in grid[len(shown) :]:
            ax.remove()
        for ax, name in zip(grid, shown, strict=False):
            of = _some(table, label == name)
            of = _some(of, np.argsort(of["time"], kind="stable"))
            ax.fill_between(of["time"], of["q05"], of["q95"], color=AFTER, alpha=0.2, lw=0, label="90 %")
            ax.fill_between(of["time"], of["q25"], of["q75"], color=AFTER, alpha=0.35, lw=0, label="50 %")
            ax.plot(of["time"], of["q50"], "-", marker=".", color=AFTER, lw=1.0, label="median")
            ax.errorbar(of["time"], of["value"], of["error"], fmt=".", color=BEFORE, lw=0.8, label="reading")
            withheld = ", withheld" if (of["used"] == "no: withheld").any() else ""
            ax.set_title(short(name) + withheld, fontsize=8, parse_math=False)
        figure.axes[0].legend(fontsize=7)
        figure.supxlabel("time [s]", fontsize=9)
        caption = f"Forecasts and readings at the {counted(len(shown), 'sensor')} farthest from what is expected"
        text = f"{caption}: where 50 % and 90 % of the members are, their median; readings with their errors."
        return Picture(svg(figure, caption), text)


def _sensors(table: Columns) -> np.ndarray:
    """(N,) name of the station, or its place."""
    place = np.column_stack([table[axis] for axis in "xyz"])
    unnamed = np.array(["at " + ", ".join(f"{c:g}" for c in of) for of in place], dtype=str)
    return np.where(table["station"] == "", unnamed, table["station"])
