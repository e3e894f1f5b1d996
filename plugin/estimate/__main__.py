"""Estimate parameters from all readings of a period: python -m plugin.estimate case.yml [--resume]

For a release that is over, or a wind to be calibrated. All members (`ensemble`) run from the case's start to the end of
its windows, each with its own `parameters`; one update by all readings at their own times follows, and the members run
again: ES-MDA (Emerick & Reynolds 2013), `estimate.iterations` times. The states are the model's own; nothing is added
to them. RUN/estimate has tables, a picture, and a ledger; `--resume` goes on after the last finished iteration. Under
mpirun the ranks start `ensemble.at_once` models at the same time. Exit codes are those of plugin.cycle.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mpi4py import MPI

from plugin.case.configuration import read_cycle_case
from plugin.estimate.iterations import run_estimate
from plugin.run.job import read_words, run_job


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m plugin.estimate", description="Estimate parameters from all readings of a period."
    )
    parser.add_argument("case", type=Path, help="case file (YAML) with ensemble and parameters")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished iteration")
    words = read_words(parser, argv, comm)
    run_estimate(read_cycle_case(words.case), comm, words.resume)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
