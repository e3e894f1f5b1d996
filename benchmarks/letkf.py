"""Local analyses of an ensemble, against DAPPER's LETKF on the same arrays, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.letkf --dapper FOLDER [--scale 0.1] [--rounds 3]
    OMP_NUM_THREADS=1 mpirun -n 2 python -m benchmarks.letkf       (against one rank, not DAPPER)

n = 100,000 points of a plane grid, 400 × 250, N = 32 members of a random field, M = 1,000 readings of points with
σ_o = 1, Gaspari & Cohn's taper with a length of 15 spacings: some 26 readings reach a point. Ours is a whole analysis,
from readings to members: it finds who reaches whom, too. DAPPER (Raanes, Chen & Grudzien 2024, J. Open Source Softw. 9,
5150) takes each point by itself, as its own examples do, with the matrix of all distances; that is timed apart, and
`times` counts without it.

DAPPER does not come with this project. To install it in an environment of its own:

    python3 -m venv dapper && dapper/bin/pip install dapper
    … -m benchmarks.letkf --dapper dapper/lib/python3.11/site-packages

Without it the comparison is left out. The growth by n refines the grid, from an eighth of its points on, with the same
places of readings and lengths. All take turns, and times are the processor's, so that other programs on the machine
count little. On several ranks `gain` is their speed-up over rank 0 alone, in turns: by the processor's time of the rank
that took longest, and by the clock on the wall, which says something on a machine without other load.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from benchmarks.measuring import alone, machine, save, table, taking_turns, timed
from da.ensemble.ensemble import EnsembleReadings, anomalies_of
from da.ensemble.letkf import letkf
from da.ensemble.reach import Reach
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_WORLD
SHAPE, MEMBERS, READINGS = (400, 250), 32, 1000
LENGTH = 15.0 / SHAPE[0]  # in widths of the domain
HALVED = (3, 2, 1, 0)
POINTS = 1000  # whose distances are computed together


def points_of(n: int) -> np.ndarray:
    """(n, 3) places of a grid of about that many points, by rows, on a domain of width one."""
    nx = round(np.sqrt(n * SHAPE[0] / SHAPE[1]))
    place = np.zeros((n, 3))
    place[:, 0], place[:, 1] = (np.arange(n) % nx) / nx, (np.arange(n) // nx) / nx
    return place


def readings_of(place: np.ndarray, members: np.ndarray, m: int) -> EnsembleReadings:
    """Readings of m points drawn among all."""
    rng = np.random.default_rng(1)
    at = np.sort(rng.choice(len(place), m, replace=False))
    error = diagonal_error(np.ones(m), slice(0, m))
    return EnsembleReadings(rng.normal(size=m), anomalies_of(members[at]), error, place[at], np.full(m, "field"))


def ours(place: np.ndarray, members: np.ndarray, readings: EnsembleReadings, comm: MPI.Comm) -> np.ndarray:
    """Members after the analysis, those of this rank's points."""
    reach = Reach(place, np.zeros(len(place), np.int64), np.array([LENGTH]), np.array([np.inf]))
    return letkf(readings, reach, comm).state(members)


def dappers(
    place: np.ndarray, members: np.ndarray, readings: EnsembleReadings
) -> tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]:
    """DAPPER's analysis of the same arrays, and its distances, as functions; ImportError without it."""
    from dapper.da_methods.ensemble import local_analyses
    from dapper.tools.localization import inds_and_coeffs, pairwise_distances
    from dapper.tools.matrices import CovMat

    m = len(readings)
    batches = [np.array([row]) for row in range(len(place))]

    def distances() -> np.ndarray:
        parts = [place[first : first + POINTS, :2] for first in range(0, len(place), POINTS)]
        return np.concatenate([pairwise_distances(part, readings.place[:, :2]) for part in parts])

    of = distances()

    def analysis() -> np.ndarray:
        # its radius is a length over 1.82; it would leave out readings of less weight than a thousandth
        return local_analyses(
            members.T.copy(), readings.anomalies.T.copy(), CovMat(np.ones(m)), readings.innovation, batches,
            lambda batch: inds_and_coeffs(of[batch[0]], LENGTH / 1.82, cutoff=0.0, tag="GC"),
        )[0].T  # fmt: skip

    return analysis, distances


def beside_dapper(place: np.ndarray, members: np.ndarray, m: int, rounds: int) -> dict[str, Any] | None:
    """Figures of both, None where there is no DAPPER."""
    readings = readings_of(place, members, m)
    try:
        analysis, distances = dappers(place, members, readings)
    except ImportError as missing:
        print(f"DAPPER is not compared: {missing}. The first lines of this file say how to install it.")
        return None
    results: dict[str, np.ndarray] = {}
    functions: dict[str, Callable[[], object]] = {
        "ours": lambda: results.update(ours=ours(place, members, readings, COMM)),
        "DAPPER": lambda: results.update(dapper=analysis()),
        "distances": distances,
    }
    seconds = taking_turns(functions, rounds, time.process_time)
    difference = np.abs(results["dapper"] - results["ours"]).max()
    return {
        "ours_s": seconds["ours"],
        "dapper_s": seconds["DAPPER"],
        "dapper_distances_s": seconds["distances"],
        "times": seconds["DAPPER"] / seconds["ours"],
        "times_with_distances": (seconds["DAPPER"] + seconds["distances"]) / seconds["ours"],
        "largest_difference": float(difference),
    }


def growth(n: int, m: int, rounds: int) -> dict[str, Any]:
    """Seconds and slope over three doublings of n."""
    sizes = [n >> k for k in HALVED]
    functions: dict[int, Callable[[], object]] = {}
    for size in sizes:
        place, members = points_of(size), np.random.default_rng(2).normal(size=(size, MEMBERS))
        readings = readings_of(place, members, m)
        functions[size] = lambda place=place, members=members, of=readings: ours(place, members, of, COMM)
    seconds = list(taking_turns(functions, rounds, time.process_time).values())
    slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    return {"n": sizes, "seconds": seconds, "slope": slope}


def over_ranks(place: np.ndarray, members: np.ndarray, m: int, rounds: int, comm: MPI.Comm) -> dict[str, Any]:
    """Seconds on all ranks and on rank 0 alone, in turns: of the processor, and on the wall."""
    readings = readings_of(place, members, m)
    cut = np.arange(comm.size + 1) * len(place) // comm.size
    mine = slice(cut[comm.rank], cut[comm.rank + 1])
    together, single = np.full(2, np.inf), np.full(2, np.inf)
    for _ in range(rounds):
        comm.Barrier()
        of_all = both_clocks(lambda: ours(place[mine], members[mine], readings, comm))
        together = np.minimum(together, np.max(comm.allgather(of_all), axis=0))
        of_one = alone(lambda: both_clocks(lambda: ours(place, members, readings, MPI.COMM_SELF)), comm)
        single = np.minimum(single, comm.bcast(of_one))
    gain = single / together
    return {
        "ranks": comm.size, "seconds": together[0], "one_rank_s": single[0], "gain": gain[0],
        "wall_s": together[1], "one_rank_wall_s": single[1], "wall_gain": gain[1],
    }  # fmt: skip


def both_clocks(function: Callable[[], object]) -> np.ndarray:
    """Seconds of one call: of the processor, and on the wall."""
    began = time.perf_counter()
    processor, _ = timed(function, 1, clock=time.process_time)
    return np.array([processor, time.perf_counter() - began])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="of n and of M")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--dapper", default=None, help="site-packages of the environment that has DAPPER")
    arguments = parser.parse_args()
    if arguments.dapper is not None:
        sys.path.append(arguments.dapper)  # at the end: what both need is taken from this environment
    n, m = (round(arguments.scale * of) for of in (SHAPE[0] * SHAPE[1], READINGS))
    place, members = points_of(n), np.random.default_rng(2).normal(size=(n, MEMBERS))
    figures: dict[str, Any] = {"n": n, "N": MEMBERS, "M": m, **machine()}
    if COMM.size > 1:
        figures |= over_ranks(place, members, m, arguments.rounds, COMM)
    else:
        figures |= beside_dapper(place, members, m, arguments.rounds) or {}
        figures["growth"] = growth(n, m, arguments.rounds)
    figures["load_after"] = machine()["load"]
    if COMM.rank == 0:
        rows = [[name, value] for name, value in figures.items() if isinstance(value, int | float)]
        rows += [[f"slope by n of {figures['growth']['n']}", figures["growth"]["slope"]]] if COMM.size == 1 else []
        table("Local analyses", ["", "figure"], rows)
        save("letkf" if COMM.size == 1 else f"letkf_{COMM.size}_ranks", figures, arguments.scale)


if __name__ == "__main__":
    main()
