"""An analysis at the size of Mack et al. 2020, against the plain formulation, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.analysis [--scale 0.1]
    OMP_NUM_THREADS=1 mpirun -n 2 python -m benchmarks.analysis       (without the plain formulation)

Innovation given, increment on the grid wanted: n = 247,520 standardised values, S = 791 samples, M readings
of single values, σ_o² = 0.05, V without the root of S − 1 as the seed has it. The background is the mean,
the readings are of one more state that the modes do not know.

The plain formulation keeps w ∈ R^S and the dense V, τ modes being V_τ = U_τ Σ_τ W_τᵀ of width S, and lets
SciPy's L-BFGS-B find J's minimum with tol = 1e-2, which ends it where J falls by less than a hundredth; the
rows of V that are observed are taken out before its clock starts. How many evaluations that takes depends on
the fields: 14 to 17 here, where all is observed. So it is run there a second time, until the gradient is 1e-2
or J falls no more, as SciPy takes it if only the gradient's tolerance is given (`strict`).

Ours has A made before, as for sensors that stay; that time is told by itself. The exact minimum is solved
for by Cholesky from the same modes. `over_two_passes` is our time in those of two streaming passes over the
modes, at the bytes per second of a copy kernel of as many bytes, which reads and writes, in the same run.
"""

import argparse
import json

import numpy as np
from mpi4py import MPI
from scipy.optimize import minimize

from benchmarks.measuring import keep, machine, rows_of, shape_of, snapshots_of, table, timed
from da.analysis import analyse, prepare
from da.modes import Modes, reduced_modes, truncated_modes
from da.observation_error import diagonal_error
from da.operator import selection
from da.transform import LinearTransform

COMM = MPI.COMM_WORLD
STD = np.sqrt(0.05)  # the seed's σ_o, of standardised values
PARTS = (1.0, 0.1, 0.01, 0.001)


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


def error(found, wanted, comm):
    """‖found − wanted‖ / ‖wanted‖ over all ranks."""
    squares = comm.allreduce(np.array([np.sum((found - wanted) ** 2), np.sum(wanted**2)]))
    return float(np.sqrt(squares[0] / squares[1]))


def copy_seconds(size, comm):
    """Time that moves `size` bytes at the speed of a copy, which reads and writes each byte [s]."""
    block = np.ones(max(1, min(size, 1 << 29) // 8))
    into = np.empty_like(block)
    seconds, _ = timed(lambda: np.copyto(into, block), 5, comm)
    return seconds * size / (2 * block.nbytes)


def readings(n, part):
    """Numbers of the observed values, the same on every rank."""
    index = np.arange(n)
    return index if part == 1.0 else np.sort(np.random.default_rng(5).choice(n, round(part * n), replace=False))


def ours(modes, index, departure, comm):
    """Our analysis for some readings: seconds, what it found, seconds to prepare."""
    transform = LinearTransform(modes, None, comm)
    operator = selection(index, len(modes.vectors), comm)
    errors = diagonal_error(np.full(len(index), STD), operator.rows)
    d = operator.observe(departure)
    preparing, observed = timed(lambda: prepare(transform, operator, errors, comm), 1, comm)
    seconds, found = timed(lambda: analyse(transform, operator, errors, d, comm, observed=observed), 7, comm)
    return seconds, found, preparing


def measured(name, modes, kept, dense, departure, n, comm):
    """A row of figures for each number of readings.

    kept : our modes in float64; dense : (n, S) of the plain formulation; departure : (n_local,) of truth and background
    """
    rows, size = [], comm.allreduce(modes.vectors.nbytes)
    limit = copy_seconds(2 * size // comm.size, comm)
    for part in PARTS:
        index = readings(n, part)
        seconds, found, preparing = ours(modes, index, departure, comm)
        row = {"modes": name, "M/n": part, "ours_s": seconds, "prepare_s": preparing, "steps": found.iterations}
        row |= {"minimise_s": found.seconds["minimise"], "increment_s": found.seconds["increment"]}
        row["over_two_passes"] = seconds / limit
        if comm.size == 1:
            d = departure[index]
            observed = dense if part == 1.0 else dense[index]
            repeats = 1 if part == 1.0 else 5
            theirs, (increment, asked) = timed(lambda: plain(dense, observed, d, {"tol": 1e-2}), repeats)
            of = kept.vectors if part == 1.0 else kept.vectors[index]
            wanted = exact(kept.vectors, of, d)
            row |= {"plain_s": theirs, "plain_evaluations": asked, "ratio": theirs / seconds}
            row |= {"error": error(found.increment, wanted, comm), "plain_error": error(increment, wanted, comm)}
            if part == 1.0:
                strict, (increment, asked) = timed(lambda: plain(dense, observed, d, {"options": {"gtol": 1e-2}}), 1)
                row |= {"strict_s": strict, "strict_evaluations": asked, "strict_ratio": strict / seconds}
                row |= {"strict_error": error(increment, wanted, comm)}
        rows.append(row)
        if comm.rank == 0:
            print(json.dumps(row), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    arguments = parser.parse_args()
    shape, n_samples = shape_of(arguments.scale)
    n, comm = int(np.prod(shape)), COMM
    tau = min(32, n_samples // 2)
    rows = rows_of(n, comm)
    states = snapshots_of(n, n_samples + 1, rows)
    snapshots, departure = states[:, :-1], states[:, -1].copy()
    departure -= snapshots.mean(axis=1)
    few = truncated_modes(snapshots, comm, tau, unbiased=False)
    single = Modes(few.vectors.astype(np.float32), None, few.mean, n_samples, "tsvd")
    alone = comm.size == 1
    figures = {"n": n, "S": n_samples, "ranks": comm.size, **machine(), "rows": []}
    everything = reduced_modes(snapshots, comm, unbiased=False, overwrite=True)
    if alone:
        # the seed's truncated V has the width of the snapshots, and so has its control
        left, sigma = few.vectors / few.singular_values[:tau], few.singular_values[:tau]
        right = (everything.vectors.T @ left) / sigma
        dense = few.vectors @ right.T
    solo = MPI.COMM_SELF if alone else comm
    for name, modes, kept in ((f"τ = {tau}", few, few), (f"τ = {tau}, float32", single, few)):
        figures["rows"] += measured(name, modes, kept, dense if alone else None, departure, n, solo)
    if alone:
        del dense
    # V itself stands for τ = S: the same space of increments, and the same J
    figures["rows"] += measured("τ = S", everything, everything, everything.vectors, departure, n, solo)
    if comm.rank == 0:
        columns = list(figures["rows"][0])
        rows = [[row.get(column, "") for column in columns] for row in figures["rows"]]
        table(f"n = {n}, S = {n_samples}, {comm.size} rank(s)", columns, rows)
        keep(f"analysis_{comm.size}_rank{'s' if comm.size > 1 else ''}", figures, arguments.scale)


if __name__ == "__main__":
    main()
