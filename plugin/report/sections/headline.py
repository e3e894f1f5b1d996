"""Is the analysis better than the forecast: at its sensors, and at those withheld from it?"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from coupling.common.text import counted
from plugin.report.page.page import Block, Section, SortableTable, Text
from plugin.report.run import Readings, Run

_COLUMNS = (
    "sensors",
    "variable",
    "readings",
    "rms of forecast",
    "rms of analysis",
    "change",
    "rms of forecast, last window",
    "rms of analysis, last window",
)


def headline(run: Run) -> Section:
    """The section; the run has one window or more."""
    readings, entry = run.readings, run.last
    last = readings.select(readings.window == entry["window"])
    blocks: list[Block] = [_at_used(last, entry), _at_withheld(readings, last), *_at_left_out(run)]
    rows = [
        row
        for name, which in (("used", readings.used), ("withheld", readings.withheld))
        for row in _rows(name, readings.select(which), last.select(last.used if name == "used" else last.withheld))
    ]
    if rows:
        blocks.append(
            SortableTable("Distance of readings from forecast and analysis, in the variables' units", _COLUMNS, rows, 2)
        )
    return Section("headline", "Is the analysis better?", blocks)


def gain(readings: Readings) -> tuple[float, float, int]:
    """(rms of d/σ, rms of r/σ, number) of readings; NaN where there are none."""
    if len(readings) == 0:
        return np.nan, np.nan, 0
    d, r = (_rms(values / readings.error) for values in (readings.innovation, readings.residual))
    return d, r, len(readings)


def _at_used(last: Readings, entry: Mapping[str, Any]) -> Text:
    where = f"Last window, t = {entry['time']:g} s: "
    before, after, n = gain(last.select(last.used))
    if n == 0:
        return Text(f"{where}no reading was used, so the analysis equals the forecast.", "bad")
    text = f"{where}at the {counted(n, 'reading')} it used, the analysis is {_compared(before, after)}."
    return Text(text, "good" if after < before else "bad")


def _at_left_out(run: Run) -> Iterator[Text]:
    """What the guard found in each window; nothing where there was none."""
    judged = [(e["window"], e["guard"]["worse"]) for e in run.entries if e.get("guard", {}).get("fields")]
    if not judged:
        return
    worse = [f"{number} ({', '.join(fields)})" for number, fields in judged if fields]
    text = "At readings that it did not know, left out with their neighbours or withheld, the analysis is "
    if not worse:
        yield Text(f"{text}no worse than the forecast in any window.", "good")
        return
    listed = ", ".join(worse[-10:])
    which = f"the last of them {listed}" if len(worse) > 10 else f"windows {listed}"
    yield Text(f"{text}worse than the forecast in {len(worse)} of {len(judged)} windows: {which}.", "bad")


def _at_withheld(readings: Readings, last: Readings) -> Text:
    withheld = readings.select(readings.withheld)
    if len(withheld) == 0:
        return Text(
            "An analysis is always drawn towards the readings it uses. Only readings it does not use can show whether "
            "it is better elsewhere too: name some stations under observations.withheld in the case file.",
            "fair",
        )
    before, after, n = gain(last.select(last.withheld))
    windows = np.unique(withheld.window)
    better = sum(g[1] < g[0] for g in (gain(withheld.select(withheld.window == w)) for w in windows))
    now = f"at the {counted(n, 'reading')} withheld from it, {_compared(before, after)}" if n else "no withheld reading"
    text = f"Last window: {now}. It was better there in {better} of {counted(len(windows), 'window')}."
    if better == len(windows):
        return Text(text, "good")
    return Text(text, "fair" if 2 * better > len(windows) else "bad")


def _compared(before: float, after: float) -> str:
    change = 1.0 - after / before if before > 0.0 else 0.0
    way = f"{change:.0%} nearer to them than" if change >= 0.0 else f"{-change:.0%} further from them than"
    return f"{way} the forecast: {before:.3g} → {after:.3g} standard deviations of their errors (rms)"


def _rows(name: str, readings: Readings, last: Readings) -> list[tuple]:
    rows = []
    for variable in np.unique(readings.variable).tolist():
        every, now = (some.select(some.variable == variable) for some in (readings, last))
        before, after = _rms(every.innovation), _rms(every.residual)
        change = f"{after / before - 1.0:+.0%}".replace("-", "−") if before > 0.0 else None
        rows.append((name, variable, len(every), before, after, change, _rms(now.innovation), _rms(now.residual)))
    return rows


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")
