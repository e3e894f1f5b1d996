"""What errors the readings and the background of a run seem to have (Desroziers et al. 2005).


    python -m plugin.diagnostics RUN [--from SECONDS] [--centred] [--stations]

reads the tables of a run's windows and prints, by variable or by station, what errors its readings and its background
seem to have (Desroziers et al. 2005) beside those that were assumed. Some tens of windows are needed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from da.diagnostics.desroziers import error_estimates
from da.diagnostics.statistics import numbered
from plugin.run.job import read_words, run_job
from plugin.run.output import show
from plugin.run.tables import read_tables


def run_table(run: Path, start: float = -np.inf) -> dict[str, np.ndarray]:
    """Readings that a run's analyses used, from its windows' tables.

    Parameters
    ----------
    run : folder of the run
    start : s, earlier readings are left out

    Returns
    -------
    {"window": (N,) int, "station", "variable": (N,) str, "innovation", "residual", "error": (N,) float}

    Raises
    ------
    ReadingsError
        if there is no table, or one is no table of a window
    """
    table = read_tables(run)
    of = (table["used"] == "yes") & (table["time"] >= start)
    return {name: table[name][of] for name in ("window", "station", "variable", "innovation", "residual", "error")}


def estimate_lines(table: Mapping[str, np.ndarray], centred: bool = False, stations: bool = False) -> list[str]:
    """Lines that compare the errors which a run's readings show with those that were assumed.

    table : as from `run_table`
    centred : take means away first, see `da.diagnostics.desroziers.error_estimates`
    stations : a line for each station's variable
    """
    group, title = table["variable"], "variable"
    if stations:
        group, title = np.char.add(np.char.add(table["station"], " "), group), "station, variable"
    width = max(16, *(len(name) + 2 for name in (title, *group))) if len(group) else 16
    lines = [f"{title:<{width}}{'readings':>9}{'windows':>8}  {'σ_o assumed':>11}{'found':>10}  {'σ_b found':>10}  χ²"]
    estimates = error_estimates(table["innovation"], table["residual"], group, table["window"], centred)
    names, number = numbered(group)
    for k, name in enumerate(names):
        of, mine = estimates[name], number == k
        assumed = float(np.sqrt(np.mean(table["error"][mine] ** 2)))
        squares = float(np.mean((table["residual"][mine] / table["error"][mine]) ** 2))
        lines.append(
            f"{name:<{width}}{of.count:>9}{of.analyses:>8}  {assumed:>11.4g}{_root(of.observation):>10}  "
            f"{_root(of.background):>10}  {squares:.3g}"
        )
    return lines


def _root(estimate):
    return f"{estimate.std:.4g}" if estimate.variance >= 0.0 else f"√{estimate.variance:.2g}"


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.diagnostics", description="Errors as a run shows them.")
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--from", dest="start", type=float, default=-np.inf, help="leave out earlier readings [s]")
    parser.add_argument("--centred", action="store_true", help="take the variables' mean departures away first")
    parser.add_argument("--stations", action="store_true", help="a line for each station's variable")
    words = read_words(parser, argv, comm)
    lines = on_rank_0(lambda: estimate_lines(run_table(words.run, words.start), words.centred, words.stations), comm)
    if comm.rank == 0:
        show("\n".join(lines))
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
