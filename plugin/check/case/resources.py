"""Memory, disk and time that a case needs, beside what there is."""

import time

import numpy as np

from plugin.check.finding import FAIL, OK, WARN, Finding
from plugin.run.retention import disk_need

_TIGHT = 0.7  # of what is free
_GB = 1e9


def memory(subject, free):
    """Findings about memory; `free` bytes over all nodes of the job."""
    n, count = _size(subject)
    case = subject.case.background
    modes = kept_modes(case.truncation, count)
    per_value = 4 if case.precision == "float32" else 8
    need = per_value * n * modes
    if not (case.modes and case.modes.is_file()) and case.scratch is None:
        need = max(need, 8 * n * count)  # the states' memory becomes that of the modes
    told = (
        f"{need / _GB:.2g} GB over all ranks for {count} states and at most {modes} modes of {n} values; "
        f"{free / _GB:.1f} GB are free"
    )
    advice = "background.scratch: FOLDER keeps states on disk, precision: float32 halves modes; or use more nodes"
    if need > free:
        yield Finding(FAIL, "memory", told, advice)
    else:
        yield Finding(WARN, "memory", told, advice) if need > _TIGHT * free else Finding(OK, "memory", told)


def disk(subject):
    """Findings about the disk: the cycle looks at it too, before it begins and after its first window."""
    need = disk_need(subject.scratch, subject.restart, 0, subject.case.cycle)
    yield Finding(OK, "disk", need.removeprefix("disk: "))


def duration(subject, ranks):
    """Findings about the time of a window: the model's at most, and the analysis' by this machine's speeds."""
    case, (n, count) = subject.case, _size(subject)
    steps = max(1, round(case.cycle.window / subject.restart.timestep))
    bandwidth, flops = speeds()
    model = steps * subject.trial
    analysis = 2 * 8 * n * kept_modes(case.background.truncation, count) / bandwidth / ranks
    modes = 2.0 * n * count**2 / flops / ranks
    told = (
        f"model at most {_clock(model)} ({steps} steps as long as the one with start-up), analysis about "
        f"{_clock(analysis)}; all windows at most {_clock((model + analysis) * case.cycle.windows)}"
    )
    if not (case.background.modes and case.background.modes.is_file()):
        told += f", and once about {_clock(modes)} for the modes beside reading {count} states"
    limit = case.model.timeout
    if limit is not None and subject.trial > limit / 2:
        yield Finding(WARN, "one window", told, f"model.timeout is {limit:g} s: raise it")
    else:
        yield Finding(OK, "one window", told)


def kept_modes(truncation, count):
    """The most modes that `count` states give under a truncation."""
    return min(truncation, count) if truncation is not None and truncation >= 1 else count


def speeds():
    """(bytes/s that a sum reads, FLOP/s of a matrix product), measured in some hundredths of a second."""
    long, square = np.ones(8_000_000), np.ones((512, 512))
    began = time.perf_counter()
    long.sum()
    read = time.perf_counter()
    square @ square
    return long.nbytes / (read - began), 2 * 512**3 / (time.perf_counter() - read)


def _size(subject):
    """(values of a state on the grid, number of earlier states)."""
    return subject.transfer.grid.fluid_points.size * len(subject.transfer.variables), len(subject.plan)


def _clock(seconds):
    if seconds < 1.0:
        return f"{1e3 * seconds:.2g} ms"
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"
