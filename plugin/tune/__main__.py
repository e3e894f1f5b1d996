"""Choose B and R of a case by cross-validation: python -m plugin.tune case.yml [--output tune.yml]

The states of background.snapshots are cut into blocks in time. Those of each block are observed at the case's own
sensors, with the readings' own errors, and analysed with background errors of the others, a gap apart. What is varied:
the factor on R or the inflation of B, localisation's lengths and leading modes, truncation, blocks of transform: local,
anamorphoses; one key at a time. A table says what was tried; the chosen keys are printed as YAML, and the case file
stays as it is. Under mpirun each rank has some rows of the states. Exit code 2 is bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from da.background.anamorphosis import KINDS
from plugin.case.configuration import read_case
from plugin.run.job import read_words, run_job
from plugin.run.progress import Progress
from plugin.tune.tables import keys_text, report, write_keys
from plugin.tune.tuning import TRANSFORMS, Options, tune


def _background(text: str) -> float:
    if text == "mean":
        return 0.0
    kind, _, seconds = text.partition(":")
    if kind != "lag" or not 0.0 < float(seconds) < np.inf:
        raise ValueError
    return float(seconds)


def _values(text: str) -> tuple[str, list[Any]]:
    key, _, values = text.partition("=")
    if not values:
        raise ValueError
    return key, [None if value in ("none", "null") else _number(value) for value in values.split(",")]


def _number(text: str) -> float | int | str:
    return text if text in KINDS else int(text) if text.isdecimal() else float(text)


# argparse names a type by its function in messages
_background.__name__, _values.__name__ = "background (mean, or lag:SECONDS)", "KEY=VALUE,VALUE"


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.tune", description="Choose B and R by cross-validation.")
    parser.add_argument("case", type=Path, help="case file (YAML) with observations")
    parser.add_argument(
        "--background", type=_background, metavar="mean|lag:SECONDS",
        help="what stands for the forecast: the mean of the other states, or the state that long before; by default "
        "a window of the cycle before, or the mean where the case has no cycle",
    )  # fmt: skip
    parser.add_argument("--transform", nargs="+", choices=TRANSFORMS, default=(), help="tried; by default the case's")
    parser.add_argument("--folds", type=int, default=5, help="blocks in time")
    parser.add_argument("--gap", type=float, metavar="SECONDS", help="between a block and the others; by default the "
                        "states' correlation time")  # fmt: skip
    parser.add_argument("--states", type=int, default=40, help="states of a block that are analysed at most")
    parser.add_argument("--places", type=int, default=1000, help="points at which analyses are scored at most")
    parser.add_argument(
        "--noise", type=float, default=1.0,
        help="of the sensors, in units of the errors that the readings are given",
    )  # fmt: skip
    parser.add_argument(
        "--try", type=_values, action="append", default=[], dest="given", metavar="KEY=VALUE,VALUE",
        help="values of a key in place of our own, e.g. background.localisation.horizontal=none,50,100",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE.yml", help="write the chosen keys to a file")
    words = read_words(parser, argv, comm)
    case, progress = read_case(words.case, needed=("observations",)), Progress(comm)
    options = Options(
        words.background, tuple(words.transform), words.folds, words.gap, words.states, words.places, words.noise,
        dict(words.given),
    )  # fmt: skip
    of = tune(case, comm, options, progress)
    for text in report(of):
        progress.say(text)
    progress.say(f"\n{keys_text(of.chosen.setting)}")
    if case.background.modes is not None:
        progress.say(f"background.modes: {case.background.modes} has the modes of the case as it is; name another file")
    if words.output is not None:
        on_rank_0(lambda: write_keys(words.output, of.chosen.setting), comm)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
