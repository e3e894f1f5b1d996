"""What the run took, what it fell back to, and what anything between analysis and restart said of it."""

import numpy as np

from plugin.report.page.page import Chapter, PageTable, Picture, Text
from plugin.report.page.svg import AFTER, BEFORE, BUILDING, OTHER, WITHHELD, drawing, svg

_COLOURS = (BEFORE, AFTER, WITHHELD, OTHER, BUILDING)
_LISTED = 100


def running(run):
    """The chapter."""
    blocks = [*_missed(run), *_networks(run), *_between(run), *_times(run)]
    return Chapter("running", "Warnings and times", blocks)


def _missed(run):
    without = [e["window"] for e in run.entries if "analysis" not in e]
    if without:
        yield Text(f"No analysis in {len(without)} of {len(run.entries)} windows: {_some(without)}.", "bad")
    else:
        yield Text(f"Each of {len(run.entries)} windows has an analysis.", "good")
    limit = run.settings["model"].get("timeout")
    longest = max(run.entries, key=lambda e: e["model_seconds"])
    if limit and longest["model_seconds"] > 0.8 * limit:
        yield Text(
            f"In window {longest['window']} the model took {longest['model_seconds']:.0f} s of the {limit:.0f} s that "
            "model.timeout allows.",
            "fair",
        )


def _networks(run):
    asked = [e for e in run.entries if "network" in e]
    fell = [e for e in asked if "reason" in e["network"]]
    if not asked:
        return
    if not fell:
        yield Text(f"All {len(asked)} analyses are the network's.", "good")
        return
    yield Text(
        f"{len(fell)} of {len(asked)} analyses are TSVD's, because the network's was not to be believed.", "fair"
    )
    rows = [(e["window"], e["time"], e["network"]["reason"]) for e in fell[-_LISTED:]]
    yield PageTable(f"Fallen back to TSVD, the last {_LISTED} at most", ("window", "time [s]", "because"), rows)


def _between(run):
    """What the ledger holds of gates, and of other tries after a model's failure: a line for each value."""
    for key, told in (
        ("recovery", "The model failed, and was tried once more"),
        ("gates", "What was done to analyses before the model went on"),
    ):
        rows = [
            (e["window"], name, value) for e in run.entries[-_LISTED:] if key in e for name, value in leaves(e[key])
        ]
        if rows and key == "recovery":
            yield Text(f"{told} in windows {_some(list(dict.fromkeys(row[0] for row in rows)))}.", "bad")
        if rows:
            yield PageTable(f"{told}, in the last {_LISTED} windows at most", ("window", "what", "value"), rows, 2)


def leaves(value, name=""):
    """(dotted name, value) of everything in nested dicts and lists."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for k, below in enumerate(value, 1):
            yield from leaves(below, f"{name}.{k}")
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list) else value


def _times(run):
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
        told = f"Wall-clock time of each window by stage; on average {seconds.sum(axis=1).mean():.3g} s"
        yield Picture(svg(figure, told), told + ".")
    rows = [
        (name, *map(float, (np.median(of), of.max(), of[-1], of.sum())))
        for name, of in zip(
            [*stages, "the model alone"], [*seconds.T, np.array([e["model_seconds"] for e in run.entries])]
        )
    ]
    yield PageTable("Wall-clock seconds", ("stage", "median", "longest", "last window", "all windows"), rows)
    left = run.windows - len(run.entries)
    if left > 0:
        to_go = left * float(np.median(seconds.sum(axis=1)))
        yield Text(f"{left} windows are still to come: at this pace {to_go / 60:.0f} minutes.")


def _some(numbers, at_most=30):
    told = ", ".join(map(str, numbers[:at_most]))
    return told if len(numbers) <= at_most else f"{told} …"
