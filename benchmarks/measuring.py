"""What the benchmarks share: clocks, the machine's copy speed, synthetic fields, tables and JSON."""

import json
import os
import platform
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
SEED_SHAPE = (91, 85, 32)  # the seed's grid: n = 247,520
SEED_SAMPLES = 791
# ‖x_a − x_t‖ / ‖x_t‖ of Mack et al. 2020 with τ modes, all observed
_MODES = (1, 2, 4, 12, 16, 32, 100, 150)
_ERRORS = (0.386, 0.239, 0.211, 0.154, 0.148, 0.127, 0.0930, 0.0913)


def timed(function, repeats=3, comm=None):
    """Least wall-clock time of some calls [s], begun together on all ranks, and the last result."""
    best, result = np.inf, None
    for _ in range(repeats):
        if comm is not None:
            comm.Barrier()
        began = time.perf_counter()
        result = function()
        if comm is not None:
            comm.Barrier()
        best = min(best, time.perf_counter() - began)
    return best, result


def taking_turns(functions, rounds):
    """Least wall-clock times of functions that are called one after another, round by round [s].

    What else the machine does falls on all of them alike.

    functions : {name: function}; rounds : how many

    Returns
    -------
    {name: seconds}
    """
    best = dict.fromkeys(functions, np.inf)
    for _ in range(rounds):
        for name, function in functions.items():
            best[name] = min(best[name], timed(function, 1)[0])
    return best


def alone(function, comm):
    """What a function returns on rank 0, None elsewhere. The others sleep: one that waits would keep its core busy."""
    result = function() if comm.rank == 0 else None
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(0.01)
    return result


def shape_of(scale):
    """The seed's grid and number of samples, both made smaller by a factor."""
    shape = tuple(max(4, round(n * scale ** (1 / 3))) for n in SEED_SHAPE)
    return shape, max(48, round(SEED_SAMPLES * scale))


def snapshots_of(n, n_samples, rows):
    """(n_local, S) standardised synthetic fields, the same for any ranks; columns lie one after another.

    Waves over the rows with random amplitudes in time, and noise. What the first k of them leave unexplained
    is what the seed's analyses leave with k modes, so the singular values fall as those of its flow.
    """
    left = np.interp(np.log(np.arange(1, 151)), np.log(_MODES), np.square(_ERRORS))
    power = -np.diff(left, prepend=1.0)
    rng = np.random.default_rng(0)
    amplitude = rng.standard_normal((len(power), n_samples)) * np.sqrt(2.0 * power)[:, None]
    frequency, phase = rng.uniform(1.0, 400.0, len(power)), rng.uniform(0.0, 2.0 * np.pi, len(power))
    fields = np.empty((n_samples, rows.stop - rows.start)).T
    for first in range(rows.start, rows.stop, 4096):
        block = slice(first, min(first + 4096, rows.stop))
        x = np.arange(block.start, block.stop)[:, None] / n
        noise = np.random.default_rng(first + 1).standard_normal((len(x), n_samples))
        values = np.sin(2.0 * np.pi * frequency * x + phase) @ amplitude + np.sqrt(left[-1]) * noise
        values -= values.mean(axis=1, keepdims=True)
        values /= values.std(axis=1, keepdims=True)
        fields[block.start - rows.start : block.stop - rows.start] = values
    return fields


def rows_of(n, comm):
    """This rank's run of rows, cut where `snapshots_of` begins a block so that all ranks make the same fields."""
    cut = [min(n, -(-(n * r // comm.size) // 4096) * 4096) for r in range(comm.size)] + [n]
    return slice(cut[comm.rank], cut[comm.rank + 1])


def table(title, columns, rows):
    """Print rows of words and numbers under each other."""
    cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    widths = [max(len(column[i]) for column in [columns, *cells]) for i in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, *cells]:
        print("  " + "  ".join(f"{v:>{w}}" for v, w in zip(row, widths)))


def machine():
    """What a ratio was measured on, and how busy that was."""
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }


def keep(name, figures, scale):
    """Write figures of full size as JSON into benchmarks/results; trials leave those of the last full run."""
    if scale != 1.0:
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\n{path}")
