"""An analysis at the size of Mack et al. 2020, against the plain formulation, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.analysis [--scale 0.1]
    OMP_NUM_THREADS=1 mpirun -n 2 python -m benchmarks.analysis       (against one rank, not the plain formulation)

Innovation given, increment on the grid wanted: n = 247,520 standardised values, S = 791 samples, M readings
of single values, σ_o² = 0.05, V without the root of S − 1 as the seed has it. The background is the mean,
the observations are of one more state, which is not in the modes.

The plain formulation has w ∈ R^S and the dense V, its τ modes being V_τ = U_τ Σ_τ W_τᵀ of width S, and lets
SciPy's L-BFGS-B minimise J with tol = 1e-2, which stops once J falls by less than a hundredth; the observed
rows of V are selected before its clock starts. The number of evaluations depends on the fields: 14 to 17 here, with
everything observed. There it runs a second time, until the gradient is 1e-2 or J falls no more, which is SciPy's
meaning of a gradient tolerance alone (`strict`). `passes` is the possible gain from memory traffic: the number of
values of V that the plain formulation reads for each of ours.

Ours has A prepared before, as for sensors that stay; that time is reported separately. The exact minimum comes from
a Cholesky solve with the same modes. `over_two_passes` is our time relative to two streaming passes over the modes
at the speed of a copy of as many bytes, which reads and writes, in the same run.

On several ranks `gain` is their speed-up over rank 0 alone, in turns; `streams` is their speed-up in copying and
reading, which bounds that of analyses limited by memory.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from mpi4py import MPI
from scipy.optimize import minimize

from benchmarks.measuring import alone, machine, rows_of, save, shape_of, snapshots_of, table, timed
from da.analysis import Analysis, analyse, prepare
from da.background.linear_transform import LinearTransform
from da.background.modes import Modes, reduced_modes, truncated_modes
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_WORLD
STD = np.sqrt(0.05)  # the paper's σ_o, of standardised values
PARTS = (1.0, 0.1, 0.01, 0.001)
REPEATS = 9


def plain(
    vectors: np.ndarray, observed: np.ndarray, innovation: np.ndarray, stop: Mapping[str, Any]
) -> tuple[np.ndarray, int]:
    """δx of the plain formulation, and its number of evaluations of J.

    vectors : (n, S), observed : (M, S) its observed rows, innovation : (M,), stop : tolerances as SciPy takes them
    """

    def cost(w: np.ndarray) -> tuple[float, np.ndarray]:
        misfit = innovation - observed @ w
        return 0.5 * w @ w + 0.5 * misfit @ misfit / STD**2, w - observed.T @ misfit / STD**2

    result = minimize(cost, np.zeros(vectors.shape[1]), jac=True, method="L-BFGS-B", **stop)
    return vectors @ result.x, result.nfev


def exact(vectors: np.ndarray, observed: np.ndarray, innovation: np.ndarray) -> np.ndarray:
    """δx of the minimum, from the normal equations. vectors : (n, s), observed : (M, s)"""
    hessian = np.eye(vectors.shape[1]) + observed.T @ observed / STD**2
    return vectors @ np.linalg.solve(hessian, observed.T @ innovation / STD**2)


def error(increment: np.ndarray, reference: np.ndarray) -> float:
    """‖increment − reference‖ / ‖reference‖."""
    return float(np.linalg.norm(increment - reference) / np.linalg.norm(reference))


def copy_seconds(size: int, comm: MPI.Comm) -> float:
    """Time to move `size` bytes at the speed of a copy, which reads and writes each byte [s]."""
    block = np.ones(max(1, min(size, 1 << 29) // 8))
    into = np.empty_like(block)
    seconds, _ = timed(lambda: np.copyto(into, block), 5, comm)
    return seconds * size / (2 * block.nbytes)


def streams(comm: MPI.Comm) -> dict[str, float]:
    """Speed-up of copying and of reading by all ranks together over rank 0 alone."""
    block = np.ones(1 << 26)
    into = np.empty_like(block)
    gains = {}

    def of_rank_0(function: Callable[[], object]) -> float | None:
        return alone(lambda: timed(function, 3)[0], comm)

    for name, function in {"copy": lambda: np.copyto(into, block), "read": lambda: block @ block}.items():
        turns = [(timed(function, 3, comm)[0], of_rank_0(function)) for _ in range(3)]
        together, single = zip(*turns, strict=True)
        gains[name] = comm.bcast(comm.size * min(single) / min(together) if comm.rank == 0 else None)
    return gains


def observed_values(n: int, part: float) -> np.ndarray:
    """Indices of the observed values, the same on every rank."""
    index = np.arange(n)
    return index if part == 1.0 else np.sort(np.random.default_rng(5).choice(n, round(part * n), replace=False))


def ours(
    modes: Modes, index: np.ndarray, departure: np.ndarray, comm: MPI.Comm
) -> tuple[Callable[[], Analysis], float]:
    """Our analysis as a function, and the seconds to prepare it."""
    transform = LinearTransform(modes, None, comm)
    operator = selection(index, len(modes.vectors), comm)
    errors = diagonal_error(np.full(len(index), STD), operator.rows)
    d = operator.observe(departure)
    preparing, hessian = timed(lambda: prepare(transform, operator, errors, comm), 1, comm)
    return lambda: analyse(transform, operator, errors, d, comm, hessian=hessian), preparing


def measured(
    name: str, modes: Modes, departure: np.ndarray, n: int, comm: MPI.Comm, compare: Callable[..., dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row of figures for each number of observations.

    departure : (n_local,) truth − background
    compare : function of the observed indices and our analysis that measures the alternative and returns its figures
    """
    rows, size = [], comm.allreduce(modes.vectors.nbytes)
    limit = copy_seconds(2 * size // comm.size, comm)
    for part in PARTS:
        index = observed_values(n, part)
        analysis, preparing = ours(modes, index, departure, comm)
        seconds, result = timed(analysis, REPEATS, comm)
        row: dict[str, Any] = {
            "modes": name,
            "M/n": part,
            "ours_s": seconds,
            "prepare_s": preparing,
            "steps": result.iterations,
        }
        row |= {"minimise_s": result.seconds["minimise"], "increment_s": result.seconds["increment"]}
        row |= {"over_two_passes": seconds / limit, **compare(index, analysis, result, seconds)}
        rows.append(row)
        if comm.rank == 0:
            print(json.dumps(row), flush=True)
    return rows


def against_plain(dense: np.ndarray, modes: np.ndarray, departure: np.ndarray) -> Callable[..., dict[str, Any]]:
    """Figures of the plain formulation for comparison with ours.

    dense : (n, S) of the plain formulation; modes : (n, s) ours in float64
    """

    def figures(index: np.ndarray, _: object, result: Analysis, seconds: float) -> dict[str, Any]:
        everything, d = len(index) == len(dense), departure[index]
        observed, own = (dense, modes) if everything else (dense[index], modes[index])
        theirs, (increment, evaluations) = timed(
            lambda: plain(dense, observed, d, {"tol": 1e-2}), 1 if everything else 5
        )
        reference = exact(modes, own, d)
        row = {"plain_s": theirs, "plain_evaluations": evaluations, "ratio": theirs / seconds}
        row["passes"] = (2 * evaluations * observed.size + dense.size) / (own.size + modes.size)
        row |= {"error": error(result.increment, reference), "plain_error": error(increment, reference)}
        if everything:
            strict, (increment, evaluations) = timed(lambda: plain(dense, observed, d, {"options": {"gtol": 1e-2}}), 1)
            row |= {"strict_s": strict, "strict_evaluations": evaluations, "strict_ratio": strict / seconds}
            row["strict_error"] = error(increment, reference)
        return row

    return figures


def against_one_rank(modes: Any, departure: Any, comm: MPI.Comm) -> Callable[..., dict[str, Any]]:
    """Figures of rank 0 alone with all rows of the modes, for comparison with all ranks.

    modes, departure : all rows, on rank 0; None on others
    """

    def figures(index: np.ndarray, analysis: Callable[[], Analysis], _: object, seconds: float) -> dict[str, Any]:
        single: Any = alone(lambda: ours(modes, index, departure, MPI.COMM_SELF)[0], comm)
        least = np.inf
        for _ in range(3):
            # both take turns, so that other load on the machine affects both
            seconds = min(seconds, timed(analysis, REPEATS, comm)[0])
            least = min(least, alone(lambda: timed(single, REPEATS)[0], comm) or np.inf)
        return {"alone_s": least, "gain": least / seconds}

    return figures


def background(n: int, n_samples: int, comm: MPI.Comm) -> tuple[dict[str, Modes], np.ndarray]:
    """{name: modes}, the last of them V itself, and (n_local,) truth − background."""
    states = snapshots_of(n, n_samples + 1, rows_of(n, comm))
    snapshots, departure = states[:, :-1], states[:, -1].copy()
    departure -= snapshots.mean(axis=1)
    tau = min(32, n_samples // 2)
    few = truncated_modes(snapshots, comm, tau, unbiased=False)
    modes = {f"τ = {tau}": few, f"τ = {tau}, float32": replace(few, vectors=few.vectors.astype(np.float32))}
    # V itself serves as τ = S: the same space of increments, and the same J
    modes["τ = S"] = reduced_modes(snapshots, comm, unbiased=False, overwrite=True)
    return modes, departure


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of S")
    arguments = parser.parse_args()
    shape, n_samples = shape_of(arguments.scale)
    n, comm = int(np.prod(shape)), COMM
    figures: dict[str, Any] = {"n": n, "S": n_samples, "ranks": comm.size, **machine(), "rows": []}
    modes, departure = background(n, n_samples, comm)
    few, *_, everything = modes.values()
    if comm.size == 1:
        # the paper's truncated V has a column for each snapshot, and so has its control
        assert few.singular_values is not None  # TSVD's modes have them
        left, sigma = few.vectors / few.singular_values[: few.n_modes], few.singular_values[: few.n_modes]
        dense = few.vectors @ ((everything.vectors.T @ left) / sigma).T
    else:
        figures["streams"] = streams(comm)
        everything_on_0: Any = alone(lambda: background(n, n_samples, MPI.COMM_SELF), comm)
        all_rows, truth = everything_on_0 or (dict.fromkeys(modes), None)
    for name, each in modes.items():
        if comm.size > 1:
            compare = against_one_rank(all_rows[name], truth, comm)
        elif each is everything:
            del dense
            compare = against_plain(everything.vectors, everything.vectors, departure)
        else:
            compare = against_plain(dense, few.vectors, departure)
        figures["rows"] += measured(name, each, departure, n, comm, compare)
    figures["load_after"] = machine()["load"]
    if comm.rank == 0:
        columns = list(figures["rows"][0])
        rows = [[row.get(column, "") for column in columns] for row in figures["rows"]]
        table(f"n = {n}, S = {n_samples}, {comm.size} rank{'s' if comm.size > 1 else ''}", columns, rows)
        if comm.size > 1:
            print(f"{comm.size} streams relative to one: {figures['streams']}")
        save(f"analysis_{comm.size}_rank{'s' if comm.size > 1 else ''}", figures, arguments.scale)


if __name__ == "__main__":
    main()
