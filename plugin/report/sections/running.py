"""How long the run took, its fallbacks, and what the gates between analysis and restart changed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from coupling.common.text import counted
from plugin.report.page.page import Block, Picture, Section, SortableTable, Text
from plugin.report.page.svg import AFTER, BEFORE, BUILDING, OTHER, WITHHELD, drawing, svg
from plugin.report.run import Run

_COLOURS = (BEFORE, AFTER, WITHHELD, OTHER, BUILDING)
_LISTED = 100


def running(run: Run) -> Section:
    """The section."""
    blocks = [*_without_analysis(run), *_networks(run), *_gates(run), *_times(run)]
    return Section("running", "Warnings and times", blocks)


def _without_analysis(run: Run) -> Iterator[Block]:
    without = [e["window"] for e in run.entries if "analysis" not in e]
    if without:
        yield Text(
            f"No analysis in {len(without)} of {counted(len(run.entries), 'window')}: {_listed(without)}.", "bad"
        )
    else:
        yield Text("Every window has an analysis.", "good")
    limit = run.settings["model"].get("timeout")
    longest = max(run.entries, key=lambda e: e["model_seconds"])
    if limit and longest["model_seconds"] > 0.8 * limit:
        yield Text(
            f"In window {longest['window']} the model took {longest['model_seconds']:.0f} s of the {limit:.0f} s that "
            "model.timeout allows.",
            "fair",
        )


def _networks(run: Run) -> Iterator[Block]:
    asked = [e for e in run.entries if "network" in e]
    fallbacks = [e for e in asked if "reason" in e["network"]]
    if not asked:
        return
    if not fallbacks:
        yield Text(
            f"The network made {'the one analysis' if len(asked) == 1 else f'all {len(asked)} analyses'}.", "good"
        )
        return
    yield Text(f"{len(fallbacks)} of {len(asked)} analyses are TSVD's, because the network's were not trusted.", "fair")
    rows = [(e["window"], e["time"], e["network"]["reason"]) for e in fallbacks[-_LISTED:]]
    yield SortableTable(f"Fallbacks to TSVD, the last {_LISTED} at most", ("window", "time [s]", "reason"), rows)


def _gates(run: Run) -> Iterator[Block]:
    """What the ledger says of gates, and of retries after a model's failure: a row for each value."""
    for key, title in (
        ("recovery", "The model failed and was run again"),
        ("replaced", "Members that failed twice and were replaced by a draw"),
        ("gates", "What gates changed in analyses before the model went on"),
    ):
        rows = [(e["window"], name, value) for e in run.entries[-_LISTED:] for name, value in leaves(_records(e, key))]
        if rows and key != "gates":
            windows = list(dict.fromkeys(row[0] for row in rows))
            yield Text(f"{title} in window{'s' if len(windows) > 1 else ''} {_listed(windows)}.", "bad")
        if rows:
            yield SortableTable(f"{title}, in the last {_LISTED} windows at most", ("window", "what", "value"), rows, 2)


def _records(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What an entry has under a key, of an ensemble what each member has."""
    if "members" not in entry:
        return entry.get(key, {})
    return {f"member {number}": of[key] for number, of in enumerate(entry["members"], 1) if key in of}


def leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """(dotted name, value) of everything in nested dicts and lists."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for k, below in enumerate(value, 1):
            yield from leaves(below, f"{name}.{k}")
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else value


def _times(run: Run) -> Iterator[Block]:
    stages = list(dict.fromkeys(name for e in run.entries for name in e["seconds"]))
    window = [e["window"] for e in run.entries]
    seconds = np.array([[e["seconds"].get(name, 0.0) for name in stages] for e in run.entries])
    with drawing(9.0, 2.4) as figure:
        ax = figure.subplots()
        colours = [_COLOURS[k % len(_COLOURS)] for k in range(len(stages))]
        if len(window) > 1:
            ax.stackplot(window, seconds.T, labels=stages, colors=colours)
        else:
            ax.bar(stages, seconds[0], color=colours)
        ax.set(ylabel="seconds", xlabel="window" if len(window) > 1 else "")
        if len(window) > 1:
            ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        caption = f"Wall-clock time of each window by stage; on average {seconds.sum(axis=1).mean():.3g} s"
        yield Picture(svg(figure, caption), caption + ".")
    rows = [
        (name, *map(float, (np.median(each), each.max(), each[-1], each.sum())))
        for name, each in zip(
            [*stages, "the model alone"],
            [*seconds.T, np.array([e["model_seconds"] for e in run.entries])],
            strict=True,
        )
    ]
    yield SortableTable("Wall-clock seconds", ("stage", "median", "longest", "last window", "all windows"), rows)
    left = run.windows - len(run.entries)
    if left > 0:
        to_go = left * float(np.median(seconds.sum(axis=1)))
        yield Text(f"{left} window{'s' if left != 1 else ''} to go: about {to_go / 60:.0f} min at this pace.")


def _listed(numbers: Sequence[int], at_most: int = 30) -> str:
    listed = ", ".join(map(str, numbers[:at_most]))
    return listed if len(numbers) <= at_most else f"{listed} …"
