"""Which readings were left out, and why."""

from collections import Counter

import numpy as np

from plugin.report.page.page import Chapter, PageTable, Text

_LISTED = 200


def quality(run):
    """The chapter."""
    of, window = run.readings, run.last["window"]
    out = of.select(~of.used)
    told = f"{len(of) - len(out)} of {len(of)} readings were used in {len(run.entries)} windows."
    if len(out) == 0:
        return Chapter("quality", "Readings left out", [Text(told + " None was left out.")])
    now = Counter(out.reason[out.window == window].tolist())
    rows = [(reason, n, now.get(reason, 0)) for reason, n in Counter(out.reason.tolist()).most_common()]
    blocks = [
        Text(told),
        PageTable("Reasons", ("reason", "readings", f"in the last window ({window})"), rows),
        _by_sensor(of, out),
    ]
    last = out.select(out.window == window)
    if len(last):
        blocks.append(_last(last, window))
    return Chapter("quality", "Readings left out", blocks)


def _by_sensor(of, out):
    every = Counter(zip(of.sensor.tolist(), of.variable.tolist()))
    reasons = Counter(zip(out.sensor.tolist(), out.variable.tolist(), out.reason.tolist()))
    rows = [
        (sensor, variable, reason, n, every[sensor, variable], n / every[sensor, variable])
        for (sensor, variable, reason), n in reasons.most_common(_LISTED)
    ]
    heads = "station", "variable", "reason", "left out", "of", "part"
    return PageTable(f"By sensor, at most {_LISTED}: one that is always there needs a visit", heads, rows, 2)


def _last(last, window):
    # a reading far from the forecast first; the others have no innovation
    order = np.argsort(-np.nan_to_num(np.abs(last.innovation / last.error)), kind="stable")[:_LISTED]
    rows = [
        (
            str(last.sensor[k]), str(last.variable[k]), float(last.time[k]), float(last.value[k]), float(last.error[k]),
            float(last.innovation[k]), float(last.residual[k]), str(last.reason[k]),
        )
        for k in order
    ]  # fmt: skip
    heads = "station", "variable", "time [s]", "reading", "σ_o", "reading − forecast", "reading − analysis", "reason"
    return PageTable(f"Left out in window {window}, at most {_LISTED}", heads, rows, 2)
