"""Make the background modes of a case and keep them in the file that it names: python -m plugin.modes case.yml

The offline part of an assimilation, done once: `background.modes` of the case file names the file that
every later run of the cycle uses. A file that is there already is checked against the case, and not made
again. Under mpirun all ranks read states, and write their rows. Exit code 2 is bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from plugin.case.configuration import Case, ConfigurationError, read_case
from plugin.run.job import read_words, run_job
from plugin.run.progress import Progress
from plugin.window.background.of_case import Background, background


def make_modes(case: Case, comm: MPI.Comm, progress: Progress | None = None) -> Background:
    """Make a case's modes, or check those that are there. Collective.

    Returns
    -------
    Background

    Raises
    ------
    ConfigurationError
        if the case names no file of modes, its states give none, or the file holds others
    FileError, MeshError, OSError
        if states cannot be read, do not fit the grid, or the file cannot be written
    """
    progress = progress or Progress(comm)
    if case.background.modes is None:
        raise ConfigurationError("background.modes: this key is missing; name the file (.h5) to keep the modes in")
    with progress.stage("background"):
        statistics = background(case, comm, case.run / "cache", progress.say)
    progress.say(_modes_line(statistics, progress.seconds["background"]))
    return statistics


def _modes_line(statistics, seconds):
    modes = statistics.modes
    text = f"{modes.n_modes} modes ({modes.name}, {modes.vectors.dtype}) of {modes.n_samples} states"
    if modes.singular_values is not None:
        variance = np.cumsum(modes.singular_values**2)
        text += f", {variance[modes.n_modes - 1] / variance[-1]:.2%} of the variance"
    return f"{text}; {seconds:.1f} s"


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.modes", description="Make a case's modes, once.")
    parser.add_argument("case", type=Path, help="case file (YAML) with background.modes: FILE.h5")
    make_modes(read_case(read_words(parser, argv, comm).case, needed=()), comm)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
