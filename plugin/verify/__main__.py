"""Check a case's operators, cost and analysis on its own data: python -m plugin.verify case.yml

Modes, a state and readings are taken as the cycle would take them, at the start of the case, and put through
checks that hold for any set-up; each gives a number and the largest that passes:

    adjoints            H, U, P and Q against their transposes, by inner products
    partition of unity  a constant stays constant on the grid, and on the mesh
    H against the mesh  what H sees of an increment is what the increment does to the state at the sensors
    J                   slope of Taylor's remainder (2), differences, and ∇J by U, H and R one by one
    dense solve         the textbook's analysis of some readings and modes, at some grid values
    network             if there is one: its U' against the transpose, its J, and whether it knows the state
    ranks               everything anew on one rank; a run on one rank starts itself on two

Under mpirun on as many ranks as one likes. Exit code 1: a check failed, the last lines say which and by how
much. 2: bad input, as for the cycle.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import whole_file
from coupling.common.text import counted
from coupling.geometry.interpolation import Interpolation, multiply
from coupling.geometry.mesh import State
from coupling.geometry.points import MeshPoints
from da.analysis import analyse
from da.background.linear_transform import LinearTransform
from da.background.modes import Modes
from da.diagnostics.checks import (
    OperatorCheck,
    adjoint_gap,
    cost_gap,
    dense_analysis,
    dot_over,
    gradient_gap,
    relative_gap,
    taylor_slope,
    whole_dot,
)
from da.minimisation.cost import CostFunction
from plugin.case.configuration import CycleCase, read_cycle_case
from plugin.run.job import read_words, run_job
from plugin.run.progress import Progress
from plugin.state.transfer import values_at
from plugin.verify.network import network_checks
from plugin.verify.ranks import rank_check, started_on
from plugin.window.set_up import SetUp, set_up

ROUNDING, SUMS, SLOPE, DIFFERENCES, DENSE = 1e-12, 1e-9, 0.05, 1e-6, 1e-7
N_MODES, N_VALUES = 128, 300  # of the sub-problem that is solved densely, beside `plugin.window.set_up.N_READINGS`
_SEED = 20


def checks(of: SetUp, comm: MPI.Comm) -> Iterator[OperatorCheck]:
    """The checks of one set-up, as they are made. Collective.

    Parameters
    ----------
    of : SetUp

    Yields
    ------
    OperatorCheck
    """
    yield from _interpolation_checks(of, comm)
    yield from _operator_checks(of, comm)
    yield from _cost_checks(of, comm)
    yield _dense_check(of, comm)
    yield from network_checks(of, comm)


def _interpolation_checks(of, comm):
    transfer, rng, dot = of.background.transfer, np.random.default_rng([_SEED, comm.rank]), dot_over(comm)
    checked: list[Interpolation] = []
    for name in transfer.field_names:
        field = of.state[name]
        pair = transfer.interpolation(field)
        if any(pair is other for other in checked):
            continue
        checked.append(pair)
        for letter, matrix in (("P", pair.to_grid), ("Q", pair.to_mesh)):
            x, y = (rng.normal(size=n) for n in reversed(matrix.getLocalSize()))
            gap = adjoint_gap(partial(multiply, matrix), partial(multiply, matrix, transpose=True), x, y, dot, dot)
            yield OperatorCheck(f"adjoint of {letter}, {name}", gap, ROUNDING)
        yield from _unity_checks(pair, field, transfer.grid, comm)


def _unity_checks(pair, field, grid, comm):
    rows = grid.rows(comm)
    fluid = grid.fluid_points[rows.start : rows.stop]
    ones = np.ones(pair.to_grid.getLocalSize()[1])
    off = np.abs(multiply(pair.to_grid, ones) - fluid)
    detail = f"{grid.fluid_points.mean():.0%} of the grid is fluid"
    yield OperatorCheck(f"P keeps a constant, {field.name}", _largest(off, comm), ROUNDING, detail)
    inside = _in_box(field, grid)
    on_mesh = multiply(pair.to_mesh, fluid.astype(np.float64))
    # outside the grid's box what Q carries fades out
    off = np.where(inside, np.abs(on_mesh - 1.0), np.maximum(np.maximum(-on_mesh, on_mesh - 1.0), 0.0))
    n, outside = comm.allreduce(len(inside)), comm.allreduce(int(np.sum(~inside)))
    detail = f"{n} mesh values, {outside} outside the grid's box"
    yield OperatorCheck(f"Q keeps a constant, {field.name}", _largest(off, comm), ROUNDING, detail)


def _in_box(field, grid):
    """Which values of a field lie in the grid's box; the mesh's own points have none."""
    if isinstance(grid, MeshPoints):
        return np.ones(len(field.values), bool)
    places = field.mesh.points if field.location == "point" else field.mesh.centroids
    low, size = np.array(grid.origin), np.array(grid.spacing) * (np.array(grid.shape) - 1)
    return ((places >= low - 1e-9 * size) & (places <= low + (1 + 1e-9) * size)).all(axis=1)


def _operator_checks(of, comm):
    transform, transfer, dot = of.background.transform, of.background.transfer, dot_over(comm)
    whole, own = np.random.default_rng(_SEED), np.random.default_rng([_SEED, comm.rank])
    control, scale = whole.normal(size=transform.n_control), transform.scale
    # in units of each variable, so that none is lost beside another's large numbers
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    x = inverse * own.normal(size=len(scale))
    gap = adjoint_gap(transform.apply, transform.adjoint, control, x, whole_dot, dot)
    n = comm.allreduce(len(scale))
    yield OperatorCheck("adjoint of U", gap, ROUNDING, f"{n} grid values, {transform.n_control} modes")
    increment = transform.apply(control)
    linear = (
        of.reading_operator.operator
        if of.reading_operator.operator.linear
        else of.reading_operator.operator.linearised(increment)
    )
    y = of.error.whiten(own.normal(size=len(of.innovation)))
    gap = adjoint_gap(
        linear.observe,
        lambda v: of.reading_operator.operator.adjoint(v, at=increment),
        scale * own.normal(size=len(scale)),
        y,
        dot,
        dot,
    )
    yield OperatorCheck("adjoint of H", gap, ROUNDING, f"{len(of.readings)} readings")
    fields = {name: of.state[name] for name in transfer.field_names}
    moved = transfer.added(of.state, increment)
    there, before = (
        values_at(State(of.state.time, values), transfer, of.readings.position, of.readings.variable)[0][
            of.reading_operator.reading
        ]
        for values in (moved, fields)
    )
    observed, weight = of.reading_operator.observe_analysis(increment), of.readings.error[of.reading_operator.reading]
    gap = relative_gap(observed / weight, (there - before) / weight, comm)
    yield OperatorCheck("H against the mesh", gap, SUMS, "increments at the sensors")


def _cost_checks(of, comm):
    transform = of.background.transform
    cost = CostFunction(transform, of.reading_operator.operator, of.error, of.innovation, comm)
    rng = np.random.default_rng(_SEED)
    control, direction = rng.normal(size=(2, transform.n_control))
    slope, remainders = taylor_slope(cost, control, direction)
    steps = f", h from 1 to {remainders[-1][0]:.1g}" if remainders else ""
    yield OperatorCheck("Taylor test of J", abs(slope - 2.0), SLOPE, f"slope {slope:.4f}{steps}")
    yield OperatorCheck("∇J against differences", gradient_gap(cost, control, direction), DIFFERENCES)
    yield OperatorCheck("∇J by U, H and R", cost_gap(cost, control), SUMS)


def _dense_check(of, comm):
    rng = np.random.default_rng(_SEED)
    transform, operator = _fewer_modes(of.background.transform, rng), of.operator
    n_local = of.background.transfer.n_local
    ends = np.cumsum(comm.allgather(n_local))
    chosen = np.sort(rng.choice(ends[-1], min(N_VALUES, ends[-1]), replace=False))
    rows = chosen[(chosen >= ends[comm.rank] - n_local) & (chosen < ends[comm.rank])] - (ends[comm.rank] - n_local)
    expected = dense_analysis(transform, operator, of.error, of.innovation, rows, comm)
    increment = analyse(transform, operator, of.error, of.innovation, comm).increment[rows]
    scale = transform.scale[rows]
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    gap = relative_gap(increment * inverse, expected * inverse, comm)
    detail = f"{len(of.readings)} readings, {transform.n_control} modes, {len(chosen)} grid values"
    return OperatorCheck("analysis against a dense solve", gap, DENSE, detail)


def _fewer_modes(transform, rng):
    modes = transform.modes
    if modes.n_modes <= N_MODES:
        return transform
    chosen = np.sort(rng.choice(modes.n_modes, N_MODES, replace=False))
    fewer = Modes(modes.vectors[:, chosen], None, modes.mean, modes.n_samples, modes.name)
    return LinearTransform(fewer, transform.scale, transform.comm)


def _largest(values, comm):
    # max of Python would lose a NaN
    return float(np.max(comm.allgather(np.max(values, initial=0.0))))


def verify(
    case: CycleCase, comm: MPI.Comm, progress: Progress, path: Path | None = None, ranks: int = 2
) -> list[OperatorCheck]:
    """Make all checks of a case, and print each. Collective.

    Parameters
    ----------
    case : Case
    comm : MPI communicator
    progress : Progress
    path : of the case file, for the ranks that a run on one rank starts; None leaves these out
    ranks : how many they are; 1 leaves them out

    Returns
    -------
    list of OperatorCheck
    """
    with progress.stage("background"):
        of = set_up(case, comm, progress.say)
    transform, grid = of.background.transform, of.background.transfer.grid
    progress.say(
        f"{counted(len(of.readings), 'reading')}, {counted(transform.n_control, 'mode')}, {grid}, "
        f"{counted(comm.size, 'rank')}; state from {of.source}"
    )
    made = []

    def record(check):
        progress.say(check_line(check))
        made.append(check)

    for check in checks(of, comm):
        record(check)
    if comm.size > 1:
        record(rank_check(case, of, comm, set_up))
    elif path is not None and ranks > 1:
        with progress.stage("ranks", f"anew on {ranks} ranks"):
            check = started_on(ranks, path, case.model.launcher, comm)
        record(check)
    else:
        progress.say("      the same on any number of ranks: not asked on one rank")
    return made


def check_line(check: OperatorCheck) -> str:
    """A line on a check: whether it passed, its number and its limit."""
    mark = "ok    " if check.passed else "FAILED"
    detail = f"  ({check.detail})" if check.detail else ""
    return f"{mark} {check.name:<34} {check.departure:9.2e} ≤ {check.tolerance:.0e}{detail}"


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.verify", description="Check a case on its own data.")
    parser.add_argument("case", type=Path, help="case file (YAML)")
    parser.add_argument("--ranks", type=int, default=2, help="on one rank: compare with so many; 1 does not")
    parser.add_argument("--only-ranks", type=Path, metavar="FILE", help="only compare with one rank; keep that in FILE")
    words = read_words(parser, argv, comm)
    case, progress = read_cycle_case(words.case), Progress(comm)
    if words.only_ranks is not None:
        check = rank_check(case, set_up(case, comm), comm, set_up)
        on_rank_0(lambda: _keep(words.only_ranks, check), comm)
        return 0
    made = verify(case, comm, progress, words.case.resolve(), words.ranks)
    failed = [check for check in made if not check.passed]
    if not failed:
        progress.say(f"{len(made)} checks passed")
        return 0
    reasons = [f"  {c.name}: {c.departure:.3g}, at most {c.tolerance:.0e} expected  {c.detail}" for c in failed]
    progress.say("\n".join([f"{len(failed)} of {len(made)} checks failed:", *reasons]))
    return 1


def _keep(path, check):
    with whole_file(path) as beside:
        beside.write_text(json.dumps(asdict(check)))


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
