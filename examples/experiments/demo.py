"""The experiments of Mack et al. 2020 in a small version: python -m examples.experiments.demo

It takes a minute or two and shows what there is; networks are trained for seconds. See README.md beside this file.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from examples.reanalysis.demo import small_street
from examples.street.demo import earlier_winds
from examples.twin import allow_mpirun, command, run_twin, stopwatch
from plugin.experiment.__main__ import EXPERIMENTS

HERE = Path(__file__).resolve().parent
# codecs is of a trained network: see codec.yml; growth and window need the states of one run, here they are of several
_ELSEWHERE = ("codecs", "growth", "window")


def main(words: Sequence[str] | None = None) -> None:
    """Run the model and the cycles, then all experiments, in a fresh folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.experiments.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="MPI ranks of the cycles")
    asked, say = parser.parse_args(words), stopwatch()
    allow_mpirun()
    street = small_street(HERE / "run")
    twin = replace(
        street,
        networks=street.networks[:1],  # the tracer's sensors
        cycles={"TSVD": HERE / "case.yml", "autoencoder": HERE / "autoencoder.yml"},
        training=earlier_winds(np.random.default_rng(7), 5),
        windows=4,
    )
    shutil.rmtree(twin.run, ignore_errors=True)

    run_twin(twin, asked.processes, say)
    for name in EXPERIMENTS:
        if name in _ELSEWHERE:
            continue
        say(f"experiment {name}")
        command("plugin.experiment", name, HERE / "case.yml")
    say(f"results: {HERE / 'run' / 'results'}")


if __name__ == "__main__":
    main()
