"""The truncated SVD of 247,520 × 791 snapshots, against numpy and SciPy, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.tsvd [--scale 0.1] [--rounds 3]

Each way runs in a process of its own, so that its peak memory is its own: the resident memory beyond
what the process has before the snapshots are there, in sizes of V. (Out of core it is what Python has
allocated, for the system keeps as much of the scratch file in memory as it likes.) All start from snapshots that are
made in memory, and give V_τ for τ = 32 (τ = S as well for ours) or, numpy and SciPy, U, σ and W. For them
the snapshots were centred before the clock started; ours centres itself. `out of core` begins with
writing the snapshots to the scratch file. The ways take turns, round by round, and the least time of each counts.

`of gemm` is our FLOPs by second, 2 n S² for R, 2 n S τ for V_τ and 20 S³ for the SVD of R, in those of a product of
matrices in the cache, as the runs themselves measure it: what is left to gain without another algorithm. numpy's way
takes some 6 n S². Half of the QR's FLOPs could be saved by VᵀV, at the price of σ below 10⁻⁸ σ₁.
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

import numpy as np
from mpi4py import MPI

from benchmarks.measuring import keep, machine, rows_of, shape_of, snapshots_of, table, timed
from da.background.modes import truncated_modes
from da.background.snapshots import collected

WAYS = ("ours", "ours, τ = S", "ours, out of core", "numpy.linalg.svd", "scipy svds")
TAU = 32


def peak():
    """Largest resident memory of this process so far [bytes]."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one(way, n, n_samples, comm):
    """Run one way; seconds, peak memory of this rank in sizes of its V, and the leading singular values."""
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


def _out_of_core(n, n_samples, comm):
    """Snapshots come in groups of 16, as they would from files."""
    rows = rows_of(n, comm)
    n_local = rows.stop - rows.start
    whole = snapshots_of(n, n_samples, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "states")
        whole.T.tofile(path)
        del whole
        source = np.memmap(path, dtype=np.float64, mode="r", shape=(n_samples, n_local))
        tracemalloc.start()
        comm.Barrier()
        began = time.perf_counter()
        blocks = (np.array(source[k : k + 16]).T for k in range(0, n_samples, 16))
        modes = truncated_modes(collected(blocks, n_local, n_samples, folder), comm, TAU)
        seconds = time.perf_counter() - began
    return seconds, tracemalloc.get_traced_memory()[1] / (8 * n_local * n_samples), modes.singular_values[:TAU].tolist()


def gemm_rate():
    """FLOPs by second of a product of matrices that stay in the cache."""
    a = np.random.default_rng(0).standard_normal((1024, 1024))
    return 2.0 * 1024**3 / timed(lambda: a @ a, 10)[0]


def flops(way, n, n_samples):
    """Of our ways; None of the others."""
    tau = n_samples - 1 if "τ = S" in way else TAU
    return 2.0 * n * n_samples * (n_samples + tau) + 20.0 * n_samples**3 if way.startswith("ours") else None


def run(way, n, n_samples, ranks=1):
    """One way in a process of its own, or in several: what `one` returns, and the speed of gemm."""
    words = [sys.executable, "-m", "benchmarks.tsvd", "--one", way, "--size", str(n), str(n_samples)]
    if ranks > 1:
        words = ["mpirun", "--bind-to", "core", "-n", str(ranks), *words]
    # the environment as Python found it: what MPI put there since would make mpirun a part of this job
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def least(runs):
    """Of (seconds, memory, sigma, gemm) of some runs: the least time, the last memory and σ, the fastest gemm."""
    seconds, memory, sigma, gemm = zip(*runs)
    return min(seconds), memory[-1], np.array(sigma[-1]), max(gemm)


def compare(n, n_samples, rounds):
    """Rows of figures: each way's time and memory, and its ratio to ours; and our gain by a second rank."""
    turns = [(way, 1) for way in WAYS] + [(WAYS[0], 2)]
    runs = [[run(way, n, n_samples, ranks) for way, ranks in turns] for _ in range(rounds)]
    found = {turn: least(of) for turn, of in zip(turns, zip(*runs))}
    ours, exact = found[turns[0]][0], found["numpy.linalg.svd", 1][2]
    gemm = max(rate for *_, rate in found.values())
    rows = []
    for (way, ranks), (seconds, memory, sigma, _) in found.items():
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way has its turn")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        result = *one(arguments.one, *arguments.size, MPI.COMM_WORLD), gemm_rate()
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(result))
        return
    shape, n_samples = shape_of(arguments.scale)
    n = int(np.prod(shape))
    figures = {"n": n, "S": n_samples, **machine()}
    figures["rows"], figures["gemm"] = compare(n, n_samples, arguments.rounds)
    figures["load_after"] = machine()["load"]
    table(f"TSVD of {n} × {n_samples}", list(figures["rows"][0]), [list(r.values()) for r in figures["rows"]])
    keep("tsvd", figures, arguments.scale)


if __name__ == "__main__":
    main()
