"""What the benchmarks share: clocks, the machine's copy speed, synthetic fields, tables and JSON."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

T = TypeVar("T")
K = TypeVar("K")

RESULTS = Path(__file__).resolve().parent / "results"
PAPER_SHAPE = (91, 85, 32)  # grid of Mack et al. 2020: n = 247,520
PAPER_SAMPLES = 791
BLOCK = 4096  # rows that are drawn together
# ‖x_a − x_t‖ / ‖x_t‖ of Mack et al. 2020 with τ modes, all observed
_MODES = (1, 2, 4, 12, 16, 32, 100, 150)
_ERRORS = (0.386, 0.239, 0.211, 0.154, 0.148, 0.127, 0.0930, 0.0913)


def timed(
    function: Callable[[], T],
    repeats: int = 3,
    comm: MPI.Comm | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, T]:
    """Shortest time of some calls [s], started together on all ranks, and the last result.

    clock : of the wall; `time.process_time` of the processor, which other programs disturb less
    """
    best = np.inf
    for _ in range(repeats):
        if comm is not None:
            comm.Barrier()
        began = clock()
        result = function()
        if comm is not None:
            comm.Barrier()
        best = min(best, clock() - began)
    return best, result


def taking_turns(
    functions: Mapping[K, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[K, float]:
    """Shortest times of functions that are called in turn, round by round [s].

    Other load on the machine then affects all of them alike.

    functions : {name: function}; rounds : their number; clock : as of `timed`

    Returns
    -------
    {name: seconds}
    """
    best = dict.fromkeys(functions, np.inf)
    for _ in range(rounds):
        for name, function in functions.items():
            best[name] = min(best[name], timed(function, 1, clock=clock)[0])
    return best


def alone(function: Callable[[], T], comm: MPI.Comm) -> T | None:
    """A function's result on rank 0, None elsewhere. The other ranks sleep: waiting would keep their cores busy."""
    result = function() if comm.rank == 0 else None
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(0.01)
    return result


def shape_of(scale: float) -> tuple[tuple[int, ...], int]:
    """The paper's grid and number of samples, both reduced by a factor."""
    shape = tuple(max(4, round(n * scale ** (1 / 3))) for n in PAPER_SHAPE)
    return shape, max(48, round(PAPER_SAMPLES * scale))


def snapshots_of(n: int, n_samples: int, rows: slice) -> np.ndarray:
    """(n_local, S) standardised synthetic fields in column-major order, the same for any number of ranks.

    Waves over the rows with random amplitudes in time, and noise. The first k of them leave as much variance
    unexplained as the paper's analyses with k modes, so the singular values decay as those of its flow.
    """
    left = np.interp(np.log(np.arange(1, 151)), np.log(_MODES), np.square(_ERRORS))
    power = -np.diff(left, prepend=1.0)
    rng = np.random.default_rng(0)
    amplitude = rng.standard_normal((len(power), n_samples)) * np.sqrt(2.0 * power)[:, None]
    frequency, phase = rng.uniform(1.0, 400.0, len(power)), rng.uniform(0.0, 2.0 * np.pi, len(power))
    fields = np.empty((n_samples, rows.stop - rows.start)).T
    for first in range(rows.start, rows.stop, BLOCK):
        block = slice(first, min(first + BLOCK, rows.stop))
        x = np.arange(block.start, block.stop)[:, None] / n
        noise = np.random.default_rng(first + 1).standard_normal((len(x), n_samples))
        values = np.sin(2.0 * np.pi * frequency * x + phase) @ amplitude + np.sqrt(left[-1]) * noise
        values -= values.mean(axis=1, keepdims=True)
        values /= values.std(axis=1, keepdims=True)
        fields[block.start - rows.start : block.stop - rows.start] = values
    return fields


def rows_of(n: int, comm: MPI.Comm) -> slice:
    """This rank's rows, cut at the blocks of `snapshots_of` so that the fields do not depend on the ranks."""
    cut = [min(n, -(-(n * r // comm.size) // BLOCK) * BLOCK) for r in range(comm.size)] + [n]
    return slice(cut[comm.rank], cut[comm.rank + 1])


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Print aligned rows of words and numbers."""
    cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    widths = [max(len(column[i]) for column in [columns, *cells]) for i in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, *cells]:
        print("  " + "  ".join(f"{v:>{w}}" for v, w in zip(row, widths, strict=True)))


def machine() -> dict[str, Any]:
    """The machine and its load."""
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()),
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }


def save(name: str, figures: dict[str, Any], scale: float) -> None:
    """Write the figures of a full-size run as JSON into benchmarks/results; trials write nothing."""
    if scale != 1.0:
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\n{path}")
