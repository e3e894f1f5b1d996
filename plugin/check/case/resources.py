"""Memory, disk and time that a case needs, and what the machine has."""

import time
from collections.abc import Iterator

import numpy as np

from plugin.check.case.files import CaseFiles
from plugin.check.finding import FAIL, OK, WARN, Finding
from plugin.run.retention import disk_need

_TIGHT = 0.7  # of what is free
_GB = 1e9


def memory(files: CaseFiles, free: int) -> Iterator[Finding]:
    """Findings about memory; `free` is that of all the job's nodes [bytes]."""
    n, count = _size(files)
    case = files.case.background
    modes = most_modes(case.truncation, count)
    per_value = 4 if case.precision == "float32" else 8
    members = 2 * 8 * n * _members(files) if files.case.ensemble else 0
    need = per_value * n * modes + members
    if not (case.modes and case.modes.is_file()) and case.scratch is None:
        need = max(need, 8 * n * count)  # the modes take the states' place in memory
    text = (
        f"{need / _GB:.2g} GB over all ranks for {count} states and at most {modes} modes, {n} values each; "
        f"{free / _GB:.1f} GB are free"
    )
    advice = "background.scratch: FOLDER keeps states on disk, precision: float32 halves modes; or use more nodes"
    if need > free:
        yield Finding(FAIL, "memory", text, advice)
    else:
        yield Finding(WARN, "memory", text, advice) if need > _TIGHT * free else Finding(OK, "memory", text)


def disk(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the disk, which the cycle checks too, before it begins and after its first window."""
    need = disk_need(files.scratch, files.simulation.restart_files(files.restart), 0, files.case.cycle, _members(files))
    yield Finding(OK, "disk", need.removeprefix("disk: "))


def duration(files: CaseFiles, ranks: int) -> Iterator[Finding]:
    """Findings about a window's time: an upper bound for the model, an estimate for the analysis."""
    case, (n, count) = files.case, _size(files)
    steps = max(1, round(case.cycle.window / files.restart.timestep))
    bandwidth, flops = speeds()
    model = steps * files.trial
    each = f"{steps} × the step with start-up"
    if (ensemble := case.ensemble) is not None:
        at_once = min(ensemble.at_once or ranks, ensemble.members)
        rounds = -(-ensemble.members // at_once)
        model *= rounds
        each += f", {rounds} times: {ensemble.members} members, {at_once} at once"
        if at_once > ranks:
            text = f"{at_once} models at once need as many ranks of the plugin, there are {ranks}"
            yield Finding(FAIL, "ensemble", text, f"start with mpirun -n {at_once}, or set ensemble.at_once")
    analysis = 2 * 8 * n * most_modes(case.background.truncation, count) / bandwidth / ranks
    modes = 2.0 * n * count**2 / flops / ranks
    text = (
        f"model at most {_clock(model)} ({each}), analysis about "
        f"{_clock(analysis)}; all windows at most {_clock((model + analysis) * case.cycle.windows)}"
    )
    if not (case.background.modes and case.background.modes.is_file()):
        text += f"; once, about {_clock(modes)} for the modes besides reading {count} states"
    limit = case.model.timeout
    if limit is not None and files.trial > limit / 2:
        yield Finding(WARN, "one window", text, f"model.timeout is {limit:g} s: raise it")
    else:
        yield Finding(OK, "one window", text)


def most_modes(truncation: float | None, count: int) -> int:
    """The largest number of modes that `count` states give under a truncation."""
    return min(int(truncation), count) if truncation is not None and truncation >= 1 else count


def speeds() -> tuple[float, float]:
    """(bytes/s that a sum reads, FLOP/s of a matrix product), measured within a few hundredths of a second."""
    long, square = np.ones(8_000_000), np.ones((512, 512))
    began = time.perf_counter()
    long.sum()
    read = time.perf_counter()
    square @ square
    return long.nbytes / (read - began), 2 * 512**3 / (time.perf_counter() - read)


def _members(files: CaseFiles) -> int:
    """Models of a window."""
    return 1 if files.case.ensemble is None else files.case.ensemble.members


def _size(files: CaseFiles) -> tuple[int, int]:
    """(values of a state on the grid, number of earlier states)."""
    count = len(files.plan) if files.case.background.snapshots else 0
    return files.transfer.grid.fluid_points.size * len(files.transfer.variables), count


def _clock(seconds: float) -> str:
    if seconds < 1.0:
        return f"{1e3 * seconds:.2g} ms" if seconds < 0.0995 else f"{1e3 * seconds:.0f} ms"
    if seconds < 120.0:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200.0 else f"{seconds / 3600:.1f} h"
