"""The truncated SVD of 247,520 × 791 snapshots, against numpy and SciPy, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.tsvd [--scale 0.1] [--rounds 3]

Each method runs in its own process, which isolates its peak memory: the resident memory in excess of that
before the snapshots are created, in units of V. (Out of core it is what Python allocates, because the system
caches as much of the scratch file as it likes.) All start from snapshots in memory and return V_τ for τ = 32 (ours
also for τ = S) or, numpy and SciPy, U, σ and W. For these two the snapshots are centred before the clock starts; ours
includes the centring. `out of core` starts with writing the snapshots to the scratch file. The methods take turns,
round by round, and the shortest time of each counts.

`of gemm` is our FLOP rate (2 n S² for R, 2 n S τ for V_τ, 20 S³ for the SVD of R) relative to that of an in-cache
matrix product in the same runs: it bounds what is left to gain with this algorithm. numpy takes some 6 n S². VᵀV
would save half of the QR's FLOPs but lose all σ below 10⁻⁸ σ₁.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from benchmarks.measuring import BLOCK, machine, rows_of, save, shape_of, snapshots_of, table, timed
from da.background.modes import truncated_modes
from da.background.snapshots import collected

WAYS = ("ours", "ours, τ = S", "ours, out of core", "numpy.linalg.svd", "scipy svds")
TAU = 32


def peak() -> int:
    """Largest resident memory of this process so far [bytes]."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(way: str, n: int, n_samples: int, comm: MPI.Comm) -> tuple[float, float, list[float]]:
    """Run one method; seconds, peak memory of this rank in units of its V, and the leading singular values."""
    rows = rows_of(n, comm)
    before = peak()
    if way == "ours, out of core":
        return _out_of_core(n, n_samples, comm)
    states = snapshots_of(n, n_samples, rows)
    if way in ("numpy.linalg.svd", "scipy svds"):
        states -= states.mean(axis=1, keepdims=True)
        states /= np.sqrt(n_samples - 1)
    comm.Barrier()
    began = time.perf_counter()
    if way == "ours":
        sigma = truncated_modes(states, comm, TAU, overwrite=True).singular_values
    elif way == "ours, τ = S":
        sigma = truncated_modes(states, comm, n_samples - 1, overwrite=True).singular_values
    elif way == "numpy.linalg.svd":
        sigma = np.linalg.svd(states, full_matrices=False)[1]
    else:
        from scipy.sparse.linalg import svds

        sigma = np.sort(svds(states, k=TAU)[1])[::-1]
    comm.Barrier()
    seconds = time.perf_counter() - began
    return seconds, (peak() - before) / states.nbytes, sigma[:TAU].tolist()


def _out_of_core(n: int, n_samples: int, comm: MPI.Comm) -> tuple[float, float, list[float]]:
    """Snapshots come in groups of 16, as from files."""
    rows = rows_of(n, comm)
    n_local = rows.stop - rows.start
    snapshots = snapshots_of(n, n_samples, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "states")
        snapshots.T.tofile(path)
        del snapshots
        source = np.memmap(path, dtype=np.float64, mode="r", shape=(n_samples, n_local))
        tracemalloc.start()
        comm.Barrier()
        began = time.perf_counter()
        blocks = (np.array(source[k : k + 16]).T for k in range(0, n_samples, 16))
        modes = truncated_modes(collected(blocks, n_local, n_samples, folder), comm, TAU)
        seconds = time.perf_counter() - began
    return seconds, tracemalloc.get_traced_memory()[1] / (8 * n_local * n_samples), modes.singular_values[:TAU].tolist()


def gemm_rate() -> float:
    """FLOP/s of a product of matrices that stay in the cache."""
    a = np.random.default_rng(0).standard_normal((1024, 1024))
    return 2.0 * 1024**3 / timed(lambda: a @ a, 10)[0]


def flops(way: str, n: int, n_samples: int) -> float | None:
    """Number of FLOPs of our methods; None for the others."""
    tau = n_samples - 1 if "τ = S" in way else TAU
    return 2.0 * n * n_samples * (n_samples + tau) + 20.0 * n_samples**3 if way.startswith("ours") else None


def run(way: str, n: int, n_samples: int, ranks: int = 1) -> tuple[float, float, list[float], float]:
    """One method in its own process or processes: the result of `measure`, and the rate of gemm."""
    words = [sys.executable, "-m", "benchmarks.tsvd", "--one", way, "--size", str(n), str(n_samples)]
    if ranks > 1:
        words = ["mpirun", "--bind-to", "core", "-n", str(ranks), *words]
    # the environment of Python's start: MPI's later variables would make mpirun join this job
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, memory, sigma, gemm = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory, sigma, gemm


def least(runs: Sequence[tuple]) -> tuple[float, float, np.ndarray, float]:
    """From (seconds, memory, sigma, gemm) of several runs: shortest time, last memory and σ, fastest gemm."""
    seconds, memory, sigma, gemm = zip(*runs, strict=True)
    return min(seconds), memory[-1], np.array(sigma[-1]), max(gemm)


def compare(n: int, n_samples: int, rounds: int) -> tuple[list[dict], float]:
    """Rows of figures: each method's time and memory and its ratio to ours; and our gain from a second rank."""
    turns = [(way, 1) for way in WAYS] + [(WAYS[0], 2)]
    runs = [[run(way, n, n_samples, ranks) for way, ranks in turns] for _ in range(rounds)]
    best = {turn: least(results) for turn, results in zip(turns, zip(*runs, strict=True), strict=True)}
    ours, exact = best[turns[0]][0], best["numpy.linalg.svd", 1][2]
    gemm = max(rate for *_, rate in best.values())
    rows = []
    for (way, ranks), (seconds, memory, sigma, _) in best.items():
        work = flops(way, n, n_samples)
        rows.append(
            {
                "way": way,
                "ranks": ranks,
                "seconds": seconds,
                "of ours": seconds / ours,
                "of gemm": None if work is None else work / seconds / gemm / ranks,
                "peak/V": memory,
                "sigma_error": float(np.max(np.abs(sigma - exact) / exact)),
            }
        )
    return rows, gemm


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        n, n_samples = arguments.size
        result = *measure(arguments.one, n, n_samples, MPI.COMM_WORLD), gemm_rate()
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(result))
        return
    shape, n_samples = shape_of(arguments.scale)
    n = int(np.prod(shape))
    if n < 2 * BLOCK:
        parser.error(
            f"--scale {arguments.scale} leaves {n} rows, expected at least {2 * BLOCK}, a block for each of two ranks"
        )
    figures = {"n": n, "S": n_samples, **machine()}
    figures["rows"], figures["gemm"] = compare(n, n_samples, arguments.rounds)
    figures["load_after"] = machine()["load"]
    table(f"TSVD of {n} × {n_samples}", list(figures["rows"][0]), [list(r.values()) for r in figures["rows"]])
    save("tsvd", figures, arguments.scale)


if __name__ == "__main__":
    main()
