"""Readings: whether they lie in the model's air and in the run's windows."""

from collections.abc import Iterator

import numpy as np

from coupling.common.text import counted
from plugin.check.case.files import CaseFiles
from plugin.check.finding import FAIL, OK, WARN, Finding
from plugin.state.transfer import values_at
from plugin.window.observations.quality_control import sensors_of
from plugin.window.observations.selection import belongs_to_window

_SAME = 1e-3  # of a time step


def in_windows(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the times of the readings."""
    case, readings, restart = files.case, files.readings, files.restart
    for text in files.left_out:
        yield Finding(WARN, "readings", text, "name these variables, too, or leave it so")
    if len(readings) == 0:
        yield Finding(FAIL, "readings", f"{case.observations.file} has none")
        return
    sensors = counted(len(np.unique(sensors_of(readings))), "sensor")
    about = f"{counted(len(readings), 'reading')} of {sensors}"
    about += f" from {readings.time.min():g} to {readings.time.max():g} s"
    ends = restart.time + case.cycle.window * np.arange(1, case.cycle.windows + 1)
    half, slack = 0.5 * restart.timestep, _SAME * restart.timestep
    counts = [
        int(belongs_to_window(readings, end - case.cycle.window, end, case.observations, half, slack).sum())
        for end in ends
    ]
    empty = [k + 1 for k, count in enumerate(counts) if count == 0]
    run = f"the run's windows end from {ends[0]:g} to {ends[-1]:g} s"
    if len(empty) == len(ends):
        advice = "compare the clocks (observations.epoch), or set observations.window: interpolate, or a tolerance"
        yield Finding(FAIL, "readings", f"{about}; none is in a window: {run}", advice)
    elif empty:
        text = f"{about}; {len(empty)} of {len(ends)} windows have none, first window {empty[0]} ({run})"
        yield Finding(WARN, "readings", text, "in these windows the forecast continues without an analysis")
    else:
        yield Finding(OK, "readings", f"{about}; {min(counts)} to {max(counts)} in each window")


def in_air(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the places of the sensors."""
    readings, transfer = files.readings, files.transfer
    transfer.check_known(readings.variable)
    _, first = np.unique(sensors_of(readings), return_index=True)
    sensors = readings.select(first)
    _, inside = values_at(files.state, transfer, sensors.position, sensors.variable)
    out = np.flatnonzero(~inside)
    if len(out) == 0:
        all_of_them = f"all {len(sensors)} lie" if len(sensors) > 1 else "the one there is lies"
        yield Finding(OK, "sensors", f"{all_of_them} in the model's air")
        return
    place = ", ".join(f"{c:g}" for c in sensors.position[out[0]])
    text = f"{len(out)} of {len(sensors)} lie outside the model's air, the first at ({place}) m"
    advice = "they are in a building, underground or outside the mesh: check coordinates and heights"
    yield Finding(FAIL if len(out) == len(sensors) else WARN, "sensors", text, advice)
