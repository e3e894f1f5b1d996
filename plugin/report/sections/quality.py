"""Which readings were left out, and why."""

from collections import Counter

import numpy as np

from plugin.report.page.page import Block, Section, SortableTable, Text
from plugin.report.run import Readings, Run

_LISTED = 200


def quality(run: Run) -> Section:
    """The section."""
    every, window = run.readings, run.last["window"]
    out = every.select(~every.used)
    n = len(run.entries)
    summary = f"{len(every) - len(out)} of {len(every)} readings were used in {n} window{'s' if n != 1 else ''}."
    if len(out) == 0:
        return Section("quality", "Readings left out", [Text(summary + " None was left out.")])
    now = Counter(out.reason[out.window == window].tolist())
    rows = [(reason, n, now.get(reason, 0)) for reason, n in Counter(out.reason.tolist()).most_common()]
    blocks: list[Block] = [
        Text(summary),
        SortableTable("Reasons", ("reason", "readings", f"in the last window ({window})"), rows),
        _by_sensor(every, out),
    ]
    last = out.select(out.window == window)
    if len(last):
        blocks.append(_last(last, window))
    return Section("quality", "Readings left out", blocks)


def _by_sensor(readings: Readings, out: Readings) -> SortableTable:
    every = Counter(zip(readings.sensor.tolist(), readings.variable.tolist(), strict=True))
    reasons = Counter(zip(out.sensor.tolist(), out.variable.tolist(), out.reason.tolist(), strict=True))
    rows = [
        (sensor, variable, reason, n, every[sensor, variable], n / every[sensor, variable])
        for (sensor, variable, reason), n in reasons.most_common(_LISTED)
    ]
    heads = "station", "variable", "reason", "left out", "readings", "part left out"
    return SortableTable(
        f"By sensor, {_LISTED} at most: a sensor that is always left out needs a visit", heads, rows, 2
    )


def _last(last: Readings, window: int) -> SortableTable:
    # those farthest from the forecast first; some have no innovation
    order = np.argsort(-np.nan_to_num(np.abs(last.innovation / last.error)), kind="stable")[:_LISTED]
    rows = [
        (
            str(last.sensor[k]), str(last.variable[k]), float(last.time[k]), float(last.value[k]), float(last.error[k]),
            float(last.innovation[k]), float(last.residual[k]), str(last.reason[k]),
        )
        for k in order
    ]  # fmt: skip
    heads = "station", "variable", "time [s]", "reading", "σ_o", "reading − forecast", "reading − analysis", "reason"
    return SortableTable(f"Left out in window {window}, {_LISTED} at most", heads, rows, 2)
