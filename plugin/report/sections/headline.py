"""Is the analysis better than the forecast: at its sensors, and at those that it did not see?"""

import numpy as np

from plugin.report.page.page import Chapter, PageTable, Text

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


def headline(run):
    """The chapter; it needs one window or more."""
    readings, entry = run.readings, run.last
    last = readings.select(readings.window == entry["window"])
    blocks = [_seen(last, entry), _unseen(readings, last)]
    rows = [
        row
        for name, of in (("used", readings.used), ("withheld", readings.withheld))
        for row in _rows(name, readings.select(of), last.select(last.used if name == "used" else last.withheld))
    ]
    if rows:
        blocks.append(
            PageTable("Distance of readings from forecast and analysis, in the variables' units", _COLUMNS, rows, 2)
        )
    return Chapter("headline", "Is the analysis better?", blocks)


def gain(readings):
    """(rms of d/σ, rms of r/σ, number) of readings; NaN where there are none."""
    if len(readings) == 0:
        return np.nan, np.nan, 0
    d, r = (_rms(values / readings.error) for values in (readings.innovation, readings.residual))
    return d, r, len(readings)


def _seen(last, entry):
    where = f"Last window, t = {entry['time']:g} s: "
    before, after, n = gain(last.select(last.used))
    if n == 0:
        return Text(f"{where}no reading was used, so the analysis is the forecast.", "bad")
    told = f"{where}at the {_count(n)} it used the analysis is {_compared(before, after)}."
    return Text(told, "good" if after < before else "bad")


def _unseen(readings, last):
    kept = readings.select(readings.withheld)
    if len(kept) == 0:
        return Text(
            "An analysis is always drawn to what it was given. Whether it is better elsewhere only readings can tell "
            "that it was not given: name some stations under observations.withheld in the case file.",
            "fair",
        )
    before, after, n = gain(last.select(last.withheld))
    windows = np.unique(kept.window)
    better = sum(g[1] < g[0] for g in (gain(kept.select(kept.window == w)) for w in windows))
    now = f"at the {_count(n)} withheld from it, {_compared(before, after)}" if n else "no withheld reading"
    told = f"Last window: {now}. It was better there in {better} of {len(windows)} windows."
    if better == len(windows):
        return Text(told, "good")
    return Text(told, "fair" if 2 * better > len(windows) else "bad")


def _count(n):
    return "1 reading" if n == 1 else f"{n} readings"


def _compared(before, after):
    change = 1.0 - after / before if before > 0.0 else 0.0
    way = f"{change:.0%} nearer to them than" if change >= 0.0 else f"{-change:.0%} further from them than"
    return f"{way} the forecast: {before:.3g} → {after:.3g} standard deviations of their errors (rms)"


def _rows(name, of, last):
    rows = []
    for variable in np.unique(of.variable).tolist():
        mine, now = (some.select(some.variable == variable) for some in (of, last))
        before, after = _rms(mine.innovation), _rms(mine.residual)
        change = f"{after / before - 1.0:+.0%}".replace("-", "−") if before > 0.0 else None
        rows.append((name, variable, len(mine), before, after, change, _rms(now.innovation), _rms(now.residual)))
    return rows


def _rms(values):
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")
