"""The street's twin experiment with Fluidity itself: python -m examples.fluidity.demo

It needs `fluidity` on PATH. See README.md beside this file.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from coupling.fluidity.driver import FluidityModel
from examples.street.demo import earlier_winds, experiment, street_twin
from examples.twin import Twin

HERE = Path(__file__).resolve().parent


def fluidity_twin(run: Path) -> Twin:
    """The experiment of examples/street, on a coarser mesh and for a shorter time."""
    return replace(
        street_twin(run),
        options=HERE / "street.flml",
        mesh=HERE / "street.msh",
        model=FluidityModel(processes=2, timeout=1800.0),
        cycles={"TSVD": HERE / "case.yml"},
        training=earlier_winds(np.random.default_rng(7), 10),
        training_time=200.0,
        windows=10,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the experiment in a fresh folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.fluidity.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="MPI ranks of the cycle (the model has its own 2)")
    asked = parser.parse_args(words)
    if shutil.which("fluidity") is None:
        raise SystemExit("fluidity is not on PATH; install it, or add its bin folder to PATH")
    experiment(fluidity_twin(HERE / "run"), asked.processes, "Fluidity in the street, pulled towards its sensors")


if __name__ == "__main__":
    main()
