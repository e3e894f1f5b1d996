"""Run an experiment of Mack et al. 2020, or of ours: python -m plugin.experiment NAME case.yml [--out FOLDER]

    tables         Table 1 (networks), 2 (TSVD at a truncation, and a network), 3 (TSVD with all modes), blocks
    observations   error and time against the number of readings
    tradeoff       error against time over all systems
    steps          the error of each test step, for TSVD and a network
    truncation     error against the number of modes, of the whole and of blocks
    sparse         error against the number of real sensors, with optimal interpolation and a plain regression;
                   by the paper's protocol, and with settings chosen by validation
    localised      the same for linear analyses, with covariances as in the sample and localised
    refined        the same for one variable, and the last of them refined by a network
    codecs         the case's trained network beside linear codecs of as many numbers, each encoding the test states
    objectives     one network by several objectives of training: errors, spectra of analyses, how often trust refuses
    growth         error of forecasts by lead time: persistence, and a linear inverse model of TSVD's codes
    window         the state in the middle of a window, with readings of before and after: smoothers beside analyses
    cycled         finished runs of a forecast model: without analyses, and cycles of different kinds

The section `experiment` of the case file holds the protocol and what each of them needs; the output is a folder of CSV,
JSON, Markdown and figures. Experiments run on one rank. Exit codes are those of plugin.cycle.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mpi4py import MPI

from plugin.case.configuration import Case, ConfigurationError, read_case
from plugin.experiment.anamorphosis import with_anamorphoses
from plugin.experiment.experiments.codecs import codecs
from plugin.experiment.experiments.cycled import cycled
from plugin.experiment.experiments.growth import growth
from plugin.experiment.experiments.localised import localised
from plugin.experiment.experiments.objectives import objectives
from plugin.experiment.experiments.observations import observations
from plugin.experiment.experiments.refined import refined
from plugin.experiment.experiments.sparse import sparse
from plugin.experiment.experiments.steps import steps
from plugin.experiment.experiments.tables import tables
from plugin.experiment.experiments.tradeoff import tradeoff
from plugin.experiment.experiments.truncation import truncation
from plugin.experiment.experiments.window import window
from plugin.experiment.results import Result, conditions, write
from plugin.experiment.states import ExperimentInputs, experiment_section, read_states
from plugin.run.job import read_words, run_job
from plugin.run.progress import Progress

EXPERIMENTS: dict[str, Callable[[ExperimentInputs], Result]] = {
    function.__name__: function
    for function in (
        tables,
        observations,
        tradeoff,
        steps,
        truncation,
        sparse,
        localised,
        refined,
        codecs,
        objectives,
        growth,
        window,
        cycled,
    )
}


def run(name: str, case: Case, progress: Progress, folder: Path | None = None) -> Result:
    """Run an experiment and write its files.

    Parameters
    ----------
    name : one of EXPERIMENTS
    case : with an `experiment` section
    folder : of the results; the case's if None

    Raises
    ------
    ConfigurationError, FileError, MeshError, OSError
        if states cannot be read, settings do not fit them, or a network is not the one asked for
    MinimisationError, TrainingError
        if a minimisation fails, or a training's loss is not a number
    """
    section, before = experiment_section(case), conditions()
    with progress.stage("states"):
        states = with_anamorphoses(read_states(case, progress.say), case.background.variables)
    summary = {
        "states": len(states.rows), "training": states.n_training, "test": len(states.test(section.protocol.every)),
        "variables": list(states.variables), "grid": " × ".join(map(str, states.grid.shape)), "n": len(states.used),
    }  # fmt: skip
    progress.say(", ".join(f"{key} {value}" for key, value in summary.items()))
    began = time.perf_counter()  # not a stage: trainings have their own bars
    result = EXPERIMENTS[name](ExperimentInputs(case, states, progress))
    seconds = time.perf_counter() - began
    when = {**before, "load after": conditions()["load"]}
    folder, about = (
        folder or section.output,
        {"protocol": section.protocol.model_dump(), "states": summary, "conditions": when},
    )
    progress.say(write(result, folder, about))
    progress.say(f"{folder / name}.md; {seconds:.0f} s")
    return result


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.experiment", description="Experiments of Mack et al. 2020.")
    parser.add_argument("name", choices=EXPERIMENTS, metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("case", type=Path, help="case file (YAML) with the section experiment")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results; the case file's by default")
    words = read_words(parser, argv, comm)
    if comm.size > 1:
        raise ConfigurationError(f"experiments run on one rank, here are {comm.size}; start without mpirun")
    run(words.name, read_case(words.case, needed=("experiment",)), Progress(comm), words.out)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
