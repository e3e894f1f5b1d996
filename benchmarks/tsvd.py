"""The truncated SVD of 247,520 × 791 snapshots, against numpy and SciPy, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.tsvd [--scale 0.1] [--growth]

Each way runs in a process of its own, so that its peak memory is its own: the resident memory beyond
what the process has before the snapshots are there, in sizes of V. (Out of core it is what Python has
allocated, for the system keeps as much of the scratch file in memory as it likes.) All start from snapshots that are
made in memory, and give V_τ for τ = 32 (τ = S as well for ours) or, numpy and SciPy, U, σ and W. For them
the snapshots were centred before the clock started; ours centres itself. `out of core` begins with
writing the snapshots to the scratch file. With --growth, n and S are doubled three times, up to
the seed's, S on a quarter of its n, and two ranks are set against one.
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

from benchmarks.measuring import keep, machine, rows_of, shape_of, snapshots_of, table
from da.modes import truncated_modes
from da.snapshots import collected

WAYS = ("ours", "ours, τ = S", "ours, out of core", "numpy.linalg.svd", "scipy svds")
TAU = 32


def peak():
    """Largest resident memory of this process so far [bytes]."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def one(way, n, n_samples, comm):
    """Run one way; seconds, peak memory in sizes of V, and the leading singular values."""
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


def run(way, n, n_samples, ranks=1):
    """One way in a process of its own, or in several."""
    words = [sys.executable, "-m", "benchmarks.tsvd", "--one", way, "--size", str(n), str(n_samples)]
    if ranks > 1:
        words = ["mpirun", "--bind-to", "core", "-n", str(ranks), *words]
    # the environment as Python found it: what MPI put there since would make mpirun a part of this job
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, memory, sigma = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory, np.array(sigma)


def compare(n, n_samples):
    """Rows of figures: each way's time and memory, and its ratio to ours."""
    found = {way: run(way, n, n_samples) for way in WAYS}
    ours, exact = found["ours"][0], found["numpy.linalg.svd"][2]
    return [
        {
            "way": way,
            "seconds": seconds,
            "of ours": seconds / ours,
            "peak/V": memory,
            "sigma_error": float(np.max(np.abs(sigma - exact) / exact)),
        }
        for way, (seconds, memory, sigma) in found.items()
    ]


def growth(n, n_samples):
    """Rows of figures for n and S halved from these three times, and slopes of log time by log size.

    The work is n S² and, whatever n is, S³: 1 is the slope to expect by n, 2 and a little more by S.
    """
    rows = {"n": [(n >> k, n_samples) for k in (3, 2, 1, 0)], "S": [(n >> 2, n_samples >> k) for k in (3, 2, 1, 0)]}
    found = []
    for of, sizes in rows.items():
        seconds = [min(run("ours", *size)[0] for _ in range(3)) for size in sizes]
        slope = float(np.polyfit(np.log([s[of == "S"] for s in sizes]), np.log(seconds), 1)[0])
        found.append({"doubled": of, "sizes": sizes, "seconds": seconds, "slope": slope})
    one_rank, two = (min(run("ours", n, n_samples, ranks)[0] for _ in range(3)) for ranks in (1, 2))
    return found, {"n": n, "S": n_samples, "1 rank": one_rank, "2 ranks": two, "gain": one_rank / two}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    parser.add_argument("--growth", action="store_true", help="how time grows, instead of the comparison")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        result = one(arguments.one, *arguments.size, MPI.COMM_WORLD)
        if MPI.COMM_WORLD.rank == 0:
            print(json.dumps(result))
        return
    shape, n_samples = shape_of(arguments.scale)
    n = int(np.prod(shape))
    figures = {"n": n, "S": n_samples, **machine()}
    if arguments.growth:
        figures["growth"], figures["ranks"] = growth(n, n_samples)
        for g in figures["growth"]:
            table(f"{g['doubled']} doubled: slope {g['slope']:.2f}", ["n", "S", "seconds"],
                  [[*size, seconds] for size, seconds in zip(g["sizes"], g["seconds"])])  # fmt: skip
        table("ranks", list(figures["ranks"]), [list(figures["ranks"].values())])
        keep("tsvd_growth", figures, arguments.scale)
        return
    figures["rows"] = compare(n, n_samples)
    table(f"TSVD of {n} × {n_samples}", list(figures["rows"][0]), [list(r.values()) for r in figures["rows"]])
    keep("tsvd", figures, arguments.scale)


if __name__ == "__main__":
    main()
