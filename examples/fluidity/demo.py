"""The street's twin experiment with Fluidity itself: python -m examples.fluidity.demo

It needs `fluidity` on PATH. See README.md beside this file.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from coupling.common.files import FileError
from coupling.fluidity.driver import FluidityModel
from coupling.simulation.launch import ModelError
from examples.street.demo import earlier_winds, experiment, street_twin
from examples.twin import Twin, allow_mpirun

HERE = Path(__file__).resolve().parent
WINDOWS, RUNS = 10, 10
_STATES = 20  # of an earlier run: one each 10 s for 200 s; as many modes at most can be made of them


def fluidity_twin(run: Path, case: Path, windows: int = WINDOWS, runs: int = RUNS) -> Twin:
    """The experiment of examples/street, on a coarser mesh and for a shorter time.

    Parameters
    ----------
    run : folder for all files
    case : the cycle's case file
    windows : of the cycle
    runs : number of earlier runs
    """
    return replace(
        street_twin(run),
        options=HERE / "street.flml",
        mesh=HERE / "street.msh",
        model=FluidityModel(processes=2, timeout=1800.0),
        cycles={"TSVD": case},
        training=earlier_winds(np.random.default_rng(7), runs),
        training_time=200.0,
        windows=windows,
    )


def write_case(path: Path, windows: int, runs: int) -> Path:
    """Write case.yml for another number of windows and earlier runs; its paths are those beside this module."""
    yaml = YAML(typ="safe")
    settings = yaml.load(HERE / "case.yml")
    settings["cycle"]["windows"] = windows
    background, model, observations = (settings[section] for section in ("background", "model", "observations"))
    background["truncation"] = min(background["truncation"], _STATES * runs - 1)
    for entry in background["snapshots"]:
        entry["path"] = str(HERE / entry["path"])
    model["start"] = str(HERE / model["start"])
    observations["file"] = str(HERE / observations["file"])
    settings["run"] = str(HERE / settings["run"])
    yaml.dump(settings, path)
    return path


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number above zero")
    return int(text)


def main(words: Sequence[str] | None = None) -> None:
    """Run the experiment in a fresh folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.fluidity.demo", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--processes", type=_number, default=2, help="MPI ranks of the cycle (the model has its own 2); 2 by default"
    )
    parser.add_argument("--windows", type=_number, default=WINDOWS, help=f"windows of 30 s; {WINDOWS} by default")
    parser.add_argument("--runs", type=_number, default=RUNS, help=f"earlier runs of the model; {RUNS} by default")
    asked = parser.parse_args(words)
    if shutil.which("fluidity") is None:
        raise SystemExit("fluidity is not on PATH; install it, or add its bin folder to PATH")
    allow_mpirun()
    with tempfile.TemporaryDirectory() as folder:
        case = HERE / "case.yml"
        if (asked.windows, asked.runs) != (WINDOWS, RUNS):
            case = write_case(Path(folder) / "case.yml", asked.windows, asked.runs)
        twin = fluidity_twin(HERE / "run", case, asked.windows, asked.runs)
        try:
            experiment(twin, asked.processes, "Fluidity in the street, pulled towards its sensors")
        except (ModelError, FileError) as error:
            raise SystemExit(f"the experiment stopped: {error}") from None


if __name__ == "__main__":
    main()
