"""A page about a run, to open in a browser: python -m plugin.report RUN [--output FILE]

RUN/report.html needs no network and no other file. It can be written at any time, also while the run goes on; with
`report: true` in the case's `cycle` section it is written after each window. Exit code 2: RUN holds no run.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from plugin.report.write import write_report
from plugin.run.job import read_words, run_job
from plugin.run.output import show


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.report", description="Write a page about a run.")
    parser.add_argument("run", type=Path, help="folder of a run of plugin.cycle")
    parser.add_argument("--output", type=Path, help="file to write; RUN/report.html if left out")
    words = read_words(parser, argv, comm)
    path = on_rank_0(lambda: write_report(words.run, words.output), comm)
    if comm.rank == 0:
        show(str(path))
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
