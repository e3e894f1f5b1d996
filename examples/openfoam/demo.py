"""A twin experiment with OpenFOAM in a street of six buildings: python -m examples.openfoam.demo

It needs OpenFOAM (Debian 12: apt-get install openfoam). Sensors at street level and on roofs measure a truth run, whose
inflow and source differ from the forecast's. Two cycles follow it: one whose forecast keeps the wrong numbers, and one
of members that do not know them. See README.md beside this file.
"""

import argparse
import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import yaml

from coupling.common.files import FileError, whole_file
from coupling.openfoam.checkpoint import open_restart, write_restart
from coupling.openfoam.driver import OpenFoamModel
from coupling.openfoam.installation import with_home
from coupling.openfoam.restart import OpenFoamRestart
from coupling.simulation.launch import ModelError
from examples.score import present, show_parameters
from examples.twin import COMM, Network, Say, Twin, allow_mpirun, command, launcher, read_sensors, stopwatch

HERE = Path(__file__).resolve().parent
SPIN_UP, TRAINING_TIME, WINDOW, WINDOWS, RUNS = 120.0, 150.0, 30.0, 10, 12  # s, and numbers
TRUTH = {"wind_speed": 4.6, "wind_across": 0.2, "clock": 30.0, "source_strength": 160.0}
# least and largest value in earlier runs, which are the ensemble's priors, too
RANGES = {
    "wind_speed": (2.5, 5.5),
    "wind_across": (-0.3, 0.3),
    "clock": (0.0, 500.0),
    "source_strength": (50.0, 200.0),
}
GUSTS = ((0.15, 97.0), (0.08, 41.0))  # part of the speed, and period [s]
# building: x, y, width, depth, height [m], as in street/system/topoSetDict
BUILDINGS = (
    (64, 24, 32, 48, 22), (64, 96, 32, 48, 30), (120, 32, 40, 40, 14),
    (120, 96, 40, 40, 22), (184, 24, 32, 48, 30), (184, 96, 32, 56, 14),
)  # fmt: skip
MESH = (["blockMesh"], ["topoSet"], ["subsetMesh", "air", "-patch", "buildings", "-overwrite"])
CYCLES = {"TSVD": "case", "ETKF": "ensemble"}
_STATES = 16  # of an earlier run: one each 10 s


def street_sensors() -> np.ndarray:
    """(21, 3) places 2 m above the ground, along the streets and behind the last buildings."""
    along = [(x, y) for x in (44, 108, 172) for y in (44, 68, 84, 100, 124)]
    return np.array(
        [(x, y, 2.0) for x, y in [*along, (80, 84), (140, 84), (200, 84), (232, 60), (232, 84), (232, 120)]]
    )


def roof_sensors() -> np.ndarray:
    """(6, 3) places 4 m above the middle of each roof."""
    return np.array([(x + w / 2, y + d / 2, h + 4.0) for x, y, w, d, h in BUILDINGS])


def foam_twin(run: Path, windows: int = WINDOWS, runs: int = RUNS) -> Twin:
    """The experiment.

    Parameters
    ----------
    run : folder for all files
    windows : of the cycles
    runs : number of earlier runs
    """
    return Twin(
        options=HERE / "street",
        mesh=None,
        model=OpenFoamModel(timeout=600.0),
        cycles={name: run / f"{stem}.yml" for name, stem in CYCLES.items()},
        run=run,
        truth=TRUTH,
        training=earlier_winds(np.random.default_rng(7), runs),
        spin_up=SPIN_UP,
        training_time=TRAINING_TIME,
        window=WINDOW,
        windows=windows,
        networks=(
            Network("T", np.concatenate([street_sensors(), roof_sensors()]), 0.005),
            Network("U.x", roof_sensors(), 0.2),
            Network("U.y", roof_sensors(), 0.2),
        ),
    )


def earlier_winds(rng: np.random.Generator, runs: int) -> tuple[dict[str, float], ...]:
    """Numbers of the earlier runs, spread over their ranges by a Latin hypercube (McKay et al. 1979)."""
    places = {name: (rng.permutation(runs) + rng.random(runs)) / runs for name in RANGES}
    return tuple(
        {name: round(low + (high - low) * places[name][k], 4) for name, (low, high) in RANGES.items()}
        for k in range(runs)
    )


def make_mesh(twin: Twin, say: Say) -> None:
    """Copy the case and make its mesh."""
    case = twin.run / "case"
    shutil.copytree(twin.options, case)
    say("mesh: blockMesh, topoSet, subsetMesh")
    environment = with_home(os.environ)
    for words in MESH:
        with open(case / f"log.{words[0]}", "w") as log:
            ended = subprocess.run(words, cwd=case, env=environment, stdout=log, stderr=subprocess.STDOUT)
        if ended.returncode:
            raise SystemExit(f"{words[0]} ended with exit code {ended.returncode}; see {log.name}")
    shutil.copytree(case / "0.orig", case / "0")  # after subsetMesh, which writes the fields of time 0 anew


def cold_start(twin: Twin, name: str, numbers: Mapping[str, float]) -> OpenFoamRestart:
    """The case at time 0 with a gusting wind and a source of its own."""
    case = twin.run / f"cold-{name}"
    write_restart(open_restart(twin.run / "case", "0"), case, COMM)
    _edit(case / "0/U", r"Uref +\S+;", f"Uref table ({_gusts(numbers, twin)});")
    _edit(case / "0/U", r"flowDir +\(1 0 0\);", f"flowDir (1 {numbers['wind_across']!r} 0);")
    _edit(case / "system/controlDict", r"T \(100 0\);", f"T ({numbers['source_strength']!r} 0);")
    return open_restart(case)


def _gusts(numbers, twin):
    """Speeds each 5 s, as a table of OpenFOAM's."""
    last = twin.spin_up + max(twin.training_time, twin.window * twin.windows)
    speeds = []
    for t in np.arange(0.0, last + 5.0, 5.0):
        waves = sum(part * math.sin(2.0 * math.pi * (t + numbers["clock"]) / period) for part, period in GUSTS)
        speeds.append(f"({t:g} {numbers['wind_speed'] * (1.0 + waves):.4f})")
    return " ".join(speeds)


def _edit(path, pattern, new):
    text, n = re.subn(pattern, new, path.read_text())
    if n != 1:
        raise FileError(f"{path}: has {n} times {pattern}, expected one")
    path.write_text(text)


def simulate(twin: Twin, say: Say) -> None:
    """The truth, the forecast model's spin-up with the case's own numbers, and its free run."""
    end = twin.spin_up + twin.window * twin.windows
    say("truth")
    twin.model.run(cold_start(twin, "truth", twin.truth), end, twin.run / "truth", COMM)
    say("forecast: spin-up, then the free run")
    spun = twin.model.run(open_restart(twin.run / "case", "0"), twin.spin_up, twin.run / "spin-up", COMM)
    start = write_restart(spun.restart, twin.run / "start", COMM)
    twin.model.run(start, end, twin.run / "free", COMM)


def train(twin: Twin, say: Say) -> None:
    """Earlier runs of the model under other winds, as many side by side as there are cores."""
    runs, cores = len(twin.training), len(os.sched_getaffinity(0))
    say(f"{runs} earlier runs, {min(cores, runs)} at a time")
    # fork would give the workers our MPI
    with ProcessPoolExecutor(min(cores, runs), mp_context=get_context("spawn")) as workers:
        list(workers.map(_earlier_run, repeat(twin), range(runs)))


def _earlier_run(twin: Twin, k: int) -> None:
    start = cold_start(twin, f"earlier{k}", twin.training[k])
    twin.model.run(start, twin.spin_up + twin.training_time, twin.run / "training" / f"earlier{k}", COMM)


def write_cases(twin: Twin, members: int | None) -> None:
    """For each cycle its case file, for as many windows and members, its files in the folder of the experiment."""

    def here(path: str) -> str:
        return str(twin.run / Path(path).relative_to("run"))

    for file in twin.cycles.values():
        case = yaml.safe_load((HERE / file.name).read_text(encoding="utf-8"))
        case["cycle"]["windows"] = twin.windows
        background = case["background"]
        if "truncation" in background:
            background["truncation"] = min(background["truncation"], _STATES * len(twin.training) - 1)
        for entry in background["snapshots"]:
            entry["path"] = here(entry["path"])
        if members and "ensemble" in case:
            case["ensemble"]["members"] = members
        case["model"]["start"] = here(case["model"]["start"])
        case["observations"]["file"] = here(case["observations"]["file"])
        case["run"] = here(case["run"])
        with whole_file(file) as beside:
            Path(beside).write_text(yaml.safe_dump(case, sort_keys=False), encoding="utf-8")


def experiment(twin: Twin, processes: int, members: int | None) -> None:
    """Run the experiment in a fresh folder and show the result."""
    shutil.rmtree(twin.run, ignore_errors=True)
    twin.run.mkdir(parents=True)
    say = stopwatch()
    say("unless it is told to be smaller, it takes six minutes of CPU, four on two free cores, and 0.9 GB of disk")
    write_cases(twin, members)
    make_mesh(twin, say)
    simulate(twin, say)
    read_sensors(twin, twin.run / "readings.csv")
    say(f"{len(twin.sensors)} sensors read at {twin.windows} times")
    train(twin, say)
    for name, file in twin.cycles.items():
        say(f"{name}: the cycle")
        command("plugin.cycle", file, under=launcher(processes))
    units = {"T": "[1]", "U.x": "[m/s]", "U.y": "[m/s]"}
    present(twin, "OpenFOAM in a street, pulled towards its sensors", units, say)
    named = ("wind_speed", "wind_across", "source_strength")
    show_parameters(twin, "ETKF", {name: twin.truth[name] for name in named}, say)


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number above one")
    return int(text)


def main(words: Sequence[str] | None = None) -> None:
    """Run the demo in a fresh folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.openfoam.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="MPI ranks of the cycles; 2 by default")
    parser.add_argument("--windows", type=_number, default=WINDOWS, help=f"windows of 30 s; {WINDOWS} by default")
    parser.add_argument("--runs", type=_number, default=RUNS, help=f"earlier runs of the model; {RUNS} by default")
    parser.add_argument("--members", type=_number, help="members of the ensemble, in place of the case's")
    parser.add_argument("--run", type=Path, default=HERE / "run", help="folder of the run, made anew")
    asked = parser.parse_args(words)
    if shutil.which("pimpleFoam") is None:
        raise SystemExit("pimpleFoam is not on PATH; install OpenFOAM (Debian 12: apt-get install openfoam)")
    allow_mpirun()
    try:
        experiment(foam_twin(asked.run.resolve(), asked.windows, asked.runs), asked.processes, asked.members)
    except (ModelError, FileError) as error:
        raise SystemExit(f"the experiment stopped: {error}") from None


if __name__ == "__main__":
    main()
