"""An analysis with modes of blocks beside one with all modes of the whole, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.local [--scale 0.1] [--rounds 30]

A grid of 46 × 43 × 16 points, the size of docs/results.md, S = 790 samples of synthetic waves, everything observed and
a hundredth of it, σ_o² = 0.05. TSVD has τ = S; `local` has plain blocks of 12 × 11 × 16 points that share nothing, with
the numbers of components of docs/results.md. Innovation given, A prepared before; all systems take turns, so that other
load on the machine affects all of them alike, and the shortest time of each counts.

An analysis is two passes over the modes and a small minimisation. Of modes of blocks a pass takes each row's own
components, and a root of all of them.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from benchmarks.analysis import PARTS, observed_values, ours
from benchmarks.measuring import machine, save, snapshots_of, table, taking_turns
from da.analysis import Analysis
from da.background.blocks import cover
from da.background.local_modes import CodeLengths, local_modes
from da.background.modes import Modes, reduced_modes

COMM = MPI.COMM_SELF
SHAPE, SAMPLES = (46, 43, 16), 790
BLOCKS = np.array([4, 4, 1])  # numbers of them: of 12 × 11 × 16 points
NUMBERS = (256, 512, 1024)
NEAR = CodeLengths(1e-3, 1e-3)  # blocks share nothing


def systems(shape: tuple[int, ...], n_samples: int, numbers: tuple[int, ...]) -> tuple[dict[str, Modes], np.ndarray]:
    """{name: modes}, those of the whole first, and (n,) truth − background."""
    n = int(np.prod(shape))
    states = snapshots_of(n, n_samples + 1, slice(0, n))
    snapshots, departure = states[:, :-1], states[:, -1] - states[:, :-1].mean(axis=1)
    position = np.stack(np.unravel_index(np.arange(n), shape), axis=1).astype(float)
    blocks = cover(np.full(3, -0.5), np.array(shape) - 0.5, np.array(shape) / BLOCKS, overlap=False)
    modes = {"TSVD, τ = S": reduced_modes(snapshots, COMM, unbiased=False)}
    for m in numbers:
        modes[f"local, m = {m}"] = local_modes(snapshots, position, blocks, COMM, m, NEAR, unbiased=False)
    return modes, departure


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    parser.add_argument("--rounds", type=int, default=30, help="number of rounds")
    arguments = parser.parse_args()
    shape = tuple(max(4, round(points * arguments.scale ** (1 / 3))) for points in SHAPE)
    n_samples = max(48, round(SAMPLES * arguments.scale))
    numbers = tuple(max(8, round(m * arguments.scale)) for m in NUMBERS)
    figures: dict[str, Any] = {"n": int(np.prod(shape)), "S": n_samples, **machine(), "rows": []}
    modes, departure = systems(shape, n_samples, numbers)
    for part in (PARTS[0], PARTS[2]):
        index = observed_values(len(departure), part)
        analyses: dict[str, Callable[[], Analysis]] = {
            name: ours(of, index, departure, COMM)[0] for name, of in modes.items()
        }
        seconds = taking_turns(analyses, arguments.rounds)
        first = next(iter(seconds.values()))
        figures["rows"] += [
            {"modes": name, "numbers": modes[name].n_modes, "M/n": part, "seconds": s, "over_tsvd": s / first}
            for name, s in seconds.items()
        ]
    figures["load_after"] = machine()["load"]
    columns = list(figures["rows"][0])
    rows = [[row[column] for column in columns] for row in figures["rows"]]
    table(f"n = {figures['n']}, S = {n_samples}", columns, rows)
    save("local", figures, arguments.scale)


if __name__ == "__main__":
    main()
