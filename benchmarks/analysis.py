"""An analysis at the size of Mack et al. 2020, against the plain formulation, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.analysis [--scale 0.1]
    OMP_NUM_THREADS=1 mpirun -n 2 python -m benchmarks.analysis       (one rank alone in the plain formulation's place)

Innovation given, increment on the grid wanted: n = 247,520 standardised values, S = 791 samples, M readings
of single values, σ_o² = 0.05, V without the root of S − 1 as the seed has it. The background is the mean,
the readings are of one more state that the modes do not know.

The plain formulation keeps w ∈ R^S and the dense V, τ modes being V_τ = U_τ Σ_τ W_τᵀ of width S, and lets
SciPy's L-BFGS-B find J's minimum with tol = 1e-2, which ends it where J falls by less than a hundredth; the
rows of V that are observed are taken out before its clock starts. How many evaluations that takes depends on
the fields: 14 to 17 here, where all is observed. So it is run there a second time, until the gradient is 1e-2
or J falls no more, as SciPy takes it if only the gradient's tolerance is given (`strict`). `passes` is what there
is to gain from memory: how many values of V the plain one reads for each of ours.

Ours has A made before, as for sensors that stay; that time is told by itself. The exact minimum is solved
for by Cholesky from the same modes. `over_two_passes` is our time in those of two streaming passes over the
modes, at the bytes per second of a copy kernel of as many bytes, which reads and writes, in the same run.

On more ranks `gain` is how much faster they are than rank 0 alone, by turns; `streams` how much faster they copy, and
read, than it does: no more can be gained from analyses that wait for memory.
"""

import argparse
import json
from dataclasses import replace

import numpy as np
from mpi4py import MPI
from scipy.optimize import minimize

from benchmarks.measuring import alone, keep, machine, rows_of, shape_of, snapshots_of, table, timed
from da.analysis import analyse, prepare
from da.background.modes import reduced_modes, truncated_modes
from da.background.transform import LinearTransform
from da.observation.error import diagonal_error
from da.observation.operator import selection

COMM = MPI.COMM_WORLD
STD = np.sqrt(0.05)  # the seed's σ_o, of standardised values
PARTS = (1.0, 0.1, 0.01, 0.001)
REPEATS = 9


def plain(vectors, observed, innovation, stop):
    """δx of the plain formulation, and how often it asked for J.

    vectors : (n, S), observed : (M, S) its observed rows, innovation : (M,), stop : tolerances as SciPy takes them
    """

    def cost(w):
        misfit = innovation - observed @ w
        return 0.5 * w @ w + 0.5 * misfit @ misfit / STD**2, w - observed.T @ misfit / STD**2

    found = minimize(cost, np.zeros(vectors.shape[1]), jac=True, method="L-BFGS-B", **stop)
    return vectors @ found.x, found.nfev


def exact(vectors, observed, innovation):
    """δx of the least cost, from the normal equations. vectors : (n, s), observed : (M, s)"""
    hessian = np.eye(vectors.shape[1]) + observed.T @ observed / STD**2
    return vectors @ np.linalg.solve(hessian, observed.T @ innovation / STD**2)


def error(found, wanted):
    """‖found − wanted‖ / ‖wanted‖."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def copy_seconds(size, comm):
    """Time that moves `size` bytes at the speed of a copy, which reads and writes each byte [s]."""
    block = np.ones(max(1, min(size, 1 << 29) // 8))
    into = np.empty_like(block)
    seconds, _ = timed(lambda: np.copyto(into, block), 5, comm)
    return seconds * size / (2 * block.nbytes)


def streams(comm):
    """How many times faster all ranks together copy, and read, than rank 0 alone."""
    block = np.ones(1 << 26)
    into = np.empty_like(block)
    gains = {}
    for name, function in {"copy": lambda: np.copyto(into, block), "read": lambda: block @ block}.items():
        turns = [(timed(function, 3, comm)[0], alone(lambda: timed(function, 3)[0], comm)) for _ in range(3)]
        together, single = zip(*turns)
        gains[name] = comm.bcast(comm.size * min(single) / min(together) if comm.rank == 0 else None)
    return gains


def readings(n, part):
    """Numbers of the observed values, the same on every rank."""
    index = np.arange(n)
    return index if part == 1.0 else np.sort(np.random.default_rng(5).choice(n, round(part * n), replace=False))


def ours(modes, index, departure, comm):
    """Our analysis of some readings as a function, and the seconds to prepare it."""
    transform = LinearTransform(modes, None, comm)
    operator = selection(index, len(modes.vectors), comm)
    errors = diagonal_error(np.full(len(index), STD), operator.rows)
    d = operator.observe(departure)
    preparing, observed = timed(lambda: prepare(transform, operator, errors, comm), 1, comm)
    return lambda: analyse(transform, operator, errors, d, comm, observed=observed), preparing


def measured(name, modes, departure, n, comm, beside):
    """A row of figures for each number of readings.

    departure : (n_local,) of truth and background
    beside : function of a part of the readings and of our analysis: what else to measure, and its figures
    """
    rows, size = [], comm.allreduce(modes.vectors.nbytes)
    limit = copy_seconds(2 * size // comm.size, comm)
    for part in PARTS:
        index = readings(n, part)
        analysis, preparing = ours(modes, index, departure, comm)
        seconds, found = timed(analysis, REPEATS, comm)
        row = {"modes": name, "M/n": part, "ours_s": seconds, "prepare_s": preparing, "steps": found.iterations}
        row |= {"minimise_s": found.seconds["minimise"], "increment_s": found.seconds["increment"]}
        row |= {"over_two_passes": seconds / limit, **beside(index, analysis, found, seconds)}
        rows.append(row)
        if comm.rank == 0:
            print(json.dumps(row), flush=True)
    return rows


def against_plain(dense, kept, departure):
    """Figures of the plain formulation beside ours.

    dense : (n, S) of the plain formulation; kept : (n, s) our modes in float64
    """

    def figures(index, _, found, seconds):
        everything, d = len(index) == len(dense), departure[index]
        observed, of = (dense, kept) if everything else (dense[index], kept[index])
        theirs, (increment, asked) = timed(lambda: plain(dense, observed, d, {"tol": 1e-2}), 1 if everything else 5)
        wanted = exact(kept, of, d)
        told = {"plain_s": theirs, "plain_evaluations": asked, "ratio": theirs / seconds}
        told["passes"] = (2 * asked * observed.size + dense.size) / (of.size + kept.size)
        told |= {"error": error(found.increment, wanted), "plain_error": error(increment, wanted)}
        if everything:
            strict, (increment, asked) = timed(lambda: plain(dense, observed, d, {"options": {"gtol": 1e-2}}), 1)
            told |= {"strict_s": strict, "strict_evaluations": asked, "strict_ratio": strict / seconds}
            told["strict_error"] = error(increment, wanted)
        return told

    return figures


def against_one_rank(modes, departure, comm):
    """Figures of rank 0 alone with the whole modes beside those of all ranks.

    modes : Modes, departure : (n,), whole and on rank 0; None on others
    """

    def figures(index, analysis, _, seconds):
        single = alone(lambda: ours(modes, index, departure, MPI.COMM_SELF)[0], comm)
        least = np.inf
        for _ in range(3):
            # the others' turn again, so that what else the machine does falls on both
            seconds = min(seconds, timed(analysis, REPEATS, comm)[0])
            least = min(least, alone(lambda: timed(single, REPEATS)[0], comm) or np.inf)
        return {"alone_s": least, "gain": least / seconds}

    return figures


def background(n, n_samples, comm):
    """{name: Modes}, the last of them V itself, and (n_local,) the departure of truth and background."""
    states = snapshots_of(n, n_samples + 1, rows_of(n, comm))
    snapshots, departure = states[:, :-1], states[:, -1].copy()
    departure -= snapshots.mean(axis=1)
    tau = min(32, n_samples // 2)
    few = truncated_modes(snapshots, comm, tau, unbiased=False)
    modes = {f"τ = {tau}": few, f"τ = {tau}, float32": replace(few, vectors=few.vectors.astype(np.float32))}
    # V itself stands for τ = S: the same space of increments, and the same J
    modes["τ = S"] = reduced_modes(snapshots, comm, unbiased=False, overwrite=True)
    return modes, departure


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    arguments = parser.parse_args()
    shape, n_samples = shape_of(arguments.scale)
    n, comm = int(np.prod(shape)), COMM
    figures = {"n": n, "S": n_samples, "ranks": comm.size, **machine(), "rows": []}
    modes, departure = background(n, n_samples, comm)
    few, *_, everything = modes.values()
    if comm.size == 1:
        # the seed's truncated V has the width of the snapshots, and so has its control
        left, sigma = few.vectors / few.singular_values[: few.n_modes], few.singular_values[: few.n_modes]
        dense = few.vectors @ ((everything.vectors.T @ left) / sigma).T
    else:
        figures["streams"] = streams(comm)
        whole, truth = alone(lambda: background(n, n_samples, MPI.COMM_SELF), comm) or ({}, None)
    for name, of in modes.items():
        if comm.size > 1:
            beside = against_one_rank(whole.get(name), truth, comm)
        elif of is everything:
            del dense
            beside = against_plain(everything.vectors, everything.vectors, departure)
        else:
            beside = against_plain(dense, few.vectors, departure)
        figures["rows"] += measured(name, of, departure, n, comm, beside)
    figures["load_after"] = machine()["load"]
    if comm.rank == 0:
        columns = list(figures["rows"][0])
        rows = [[row.get(column, "") for column in columns] for row in figures["rows"]]
        table(f"n = {n}, S = {n_samples}, {comm.size} rank(s)", columns, rows)
        if comm.size > 1:
            print(f"{comm.size} streams of one: {figures['streams']}")
        keep(f"analysis_{comm.size}_rank{'s' if comm.size > 1 else ''}", figures, arguments.scale)


if __name__ == "__main__":
    main()
