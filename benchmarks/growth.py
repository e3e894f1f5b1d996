"""How the times of the TSVD and of an analysis grow with n and with S.

    OMP_NUM_THREADS=1 python -m benchmarks.growth [--scale 0.1] [--rounds 5]

n and S are doubled three times: n up to the paper's, S up to the paper's on a quarter of its n; with τ = 32, where
the modes of the paper's n are little more than the processor's cache holds, n from there on. Innovation given,
everything observed, A prepared before. All sizes of a row take turns, and the shortest time of each counts.

The work is 2 n S² for the TSVD and, whatever n is, some 20 S³; an analysis passes n S values twice. So slopes of
log time by log size are 1, and for the TSVD 2 and a little more by S.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from benchmarks.analysis import ours
from benchmarks.measuring import machine, save, shape_of, snapshots_of, table, taking_turns
from da.analysis import Analysis
from da.background.modes import Modes, truncated_modes

COMM = MPI.COMM_SELF
TAU = 32
HALVED, DOUBLED = (3, 2, 1, 0), (0, 1, 2, 3)


def tsvd(fields: np.ndarray) -> Callable[[], Modes]:
    """The modes of (n, S) fields."""
    return lambda: truncated_modes(fields, COMM, min(TAU, fields.shape[1] - 1))


def analysis(vectors: np.ndarray) -> Callable[[], Analysis]:
    """An analysis with (n, s) modes, with everything prepared that does not depend on the innovation."""
    n, s = vectors.shape
    departure = np.random.default_rng(1).normal(size=n)
    return ours(Modes(vectors, None, np.zeros(n), s, "tsvd"), np.arange(n), departure, COMM)[0]


def grown(
    name: str, by: int, sizes: Sequence[tuple[int, int]], functions: Iterable[Callable[[], object]], rounds: int
) -> dict[str, Any]:
    """A row of figures: shortest times and their slope by n (`by` = 0) or S (1)."""
    seconds = list(taking_turns(dict(zip(sizes, functions, strict=True)), rounds).values())
    slope = float(np.polyfit(np.log([size[by] for size in sizes]), np.log(seconds), 1)[0])
    doubled = "nS"[by]
    rows = [[*size, t] for size, t in zip(sizes, seconds, strict=True)]
    table(f"{name}, {doubled} doubled: slope {slope:.2f}", ["n", "S", "seconds"], rows)
    return {"of": name, "doubled": doubled, "sizes": sizes, "seconds": seconds, "slope": slope}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    arguments = parser.parse_args()
    shape, n_samples = shape_of(arguments.scale)
    n, rounds = int(np.prod(shape)), arguments.rounds
    figures = {"n": n, "S": n_samples, **machine(), "rows": []}
    fields = snapshots_of(n, n_samples, slice(0, n))
    by_n, by_s = [(n >> k, n_samples) for k in HALVED], [(n >> 2, n_samples >> k) for k in HALVED]
    for by, sizes in ((0, by_n), (1, by_s)):
        parts = [fields[:m, :s] for m, s in sizes]
        figures["rows"].append(grown("TSVD", by, sizes, map(tsvd, parts), rounds))
        modes = map(np.ascontiguousarray, parts)
        figures["rows"].append(grown("analysis, τ = S", by, sizes, map(analysis, modes), 3 * rounds))
    del fields, parts
    sizes = [(n << k, min(TAU, n_samples)) for k in DOUBLED]
    random = (np.random.default_rng(2).standard_normal(size) for size in sizes)
    figures["rows"].append(grown(f"analysis, τ = {TAU}", 0, sizes, map(analysis, random), 3 * rounds))
    figures["load_after"] = machine()["load"]
    save("growth", figures, arguments.scale)


if __name__ == "__main__":
    main()
