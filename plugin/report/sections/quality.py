"""Which readings were left out, and why."""

from collections import Counter

import numpy as np

from coupling.common.text import counted
from da.observation.quality import Flag
from plugin.report.page.page import Block, Section, SortableTable, Text, short
from plugin.report.run import Readings, Run

_LISTED = 200


def quality(run: Run) -> Section:
    """The section."""
    every, window = run.readings, run.last["window"]
    out = every.select(~every.used)
    n = len(run.entries)
    summary = f"{len(every) - len(out)} of {len(every)} readings were used in {counted(n, 'window')}."
    if len(out) == 0:
        return Section("quality", "Readings left out", [Text(summary + " None was left out.")])
    now = Counter(out.reason[out.window == window].tolist())
    rows = [(reason, n, now.get(reason, 0)) for reason, n in Counter(out.reason.tolist()).most_common()]
    blocks: list[Block] = [
        Text(summary),
        SortableTable("Reasons", ("reason", "readings", f"in the last window ({window})"), rows),
    ]
    withheld = out.reason == Flag.WITHHELD.text  # nothing is wrong with these sensors
    for title, some in (
        ("a sensor that is always left out needs a visit", out.select(~withheld)),
        ("withheld by the case, to judge the analysis by", out.select(withheld)),
    ):
        if len(some):
            blocks.append(_by_sensor(title, every, some))
    last = out.select(out.window == window)
    if len(last):
        blocks.append(_last(last, window))
    return Section("quality", "Readings left out", blocks)


def _by_sensor(title: str, readings: Readings, out: Readings) -> SortableTable:
    every = Counter(zip(readings.sensor.tolist(), readings.variable.tolist(), strict=True))
    reasons = Counter(zip(out.sensor.tolist(), out.variable.tolist(), out.reason.tolist(), strict=True))
    rows = [
        (short(sensor), variable, reason, n, every[sensor, variable], n / every[sensor, variable])
        for (sensor, variable, reason), n in reasons.most_common(_LISTED)
    ]
    heads = "station", "variable", "reason", "left out", "readings", "part left out"
    return SortableTable(f"By sensor, {_LISTED} at most: {title}", heads, rows, 2)


def _last(last: Readings, window: int) -> SortableTable:
    # those farthest from the forecast first; some have no innovation
    order = np.argsort(-np.nan_to_num(np.abs(last.innovation / last.error)), kind="stable")[:_LISTED]
    rows = [
        (
            short(str(last.sensor[k])), str(last.variable[k]),
            *(float(values[k]) for values in (last.time, last.value, last.error, last.innovation, last.residual)),
            str(last.reason[k]),
        )
        for k in order
    ]  # fmt: skip
    heads = "station", "variable", "time [s]", "reading", "σ_o", "reading − forecast", "reading − analysis", "reason"
    return SortableTable(f"Left out in window {window}, {_LISTED} at most", heads, rows, 2)
