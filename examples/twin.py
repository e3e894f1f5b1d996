"""Twin experiments: a truth run stands for nature, sensors measure it, and a wrong forecast is to follow it.

Truth and forecast are the same model with different numbers in the Python functions of its options
(lines like `wind_angle = 0.0`). The forecast learns of the truth only through the sensors. Background
errors are estimated from earlier runs of the model under other winds.

    RUN/case/          options and mesh, cut for the model's processes
    RUN/serial/        the same, not cut
    RUN/training/      earlier runs and their archives, k.vtkhdf
    RUN/truth/         what the sensors measure
    RUN/free/          the forecast without analyses
    RUN/start/         the restart that free run and cycles start from
    RUN/readings.csv   the sensors' readings
    RUN/cycle/         the files of a cycle; each has its own folder, named in its case file
    RUN/report.html    errors and pictures; figures.json holds the numbers
"""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from lxml import etree
from mpi4py import MPI

from coupling.common.files import whole_file
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import FluidityRestart, open_restart, write_restart
from coupling.fluidity.driver import FluidityModel
from coupling.geometry.interpolation import multiply, sampling
from coupling.simulation.forecast import ForecastModel
from coupling.simulation.simulation import Series
from plugin.case.configuration import read_case

COMM = MPI.COMM_SELF
Say = Callable[[str], None]  # shows a line of progress
_ROOT = Path(__file__).resolve().parent.parent
# Open MPI's mpirun refuses root and more ranks than cores otherwise, as in the Makefile
_ALLOWED = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


@dataclass(frozen=True)
class Network:
    """Sensors of one variable: their (k, 3) places [m] and the standard deviation of their errors."""

    variable: str
    places: np.ndarray
    error: float


class Model(ForecastModel[Any], Protocol):
    """A driver of a simulation, as those of this package."""

    @property
    def processes(self) -> int:
        """MPI processes of the model."""

    @property
    def environment(self) -> dict[str, str]:
        """{name: value} that the program needs."""


@dataclass(frozen=True)
class Twin:
    """A twin experiment.

    options : of Fluidity the .flml, whose Python functions hold the numbers that `truth` and `training` change; of
        OpenFOAM the case folder
    mesh : the mesh named in the .flml (.msh); None where the case folder makes its own
    model : the driver
    cycles : {name: case file of a cycle (YAML)}; their paths point into `run`
    run : folder for all files
    truth : {name: value} of the true wind and source; the forecast keeps the options' own
    training : one such dictionary for each earlier run
    spin_up : time before the first window [s]
    training_time : length of each earlier run after its own spin-up [s]
    window, windows : time between analyses [s], and their number
    networks : what is measured, where and how well
    seed : of the sensors' errors and the places to score
    """

    options: Path
    mesh: Path | None
    model: Model
    cycles: dict[str, Path]
    run: Path
    truth: dict[str, float]
    training: tuple[dict[str, float], ...]
    spin_up: float
    training_time: float
    window: float
    windows: int
    networks: tuple[Network, ...]
    seed: int = 2020

    @property
    def sensors(self) -> np.ndarray:
        """(k, 3) all places with a sensor [m]."""
        return np.unique(np.concatenate([network.places for network in self.networks]), axis=0)


Start = Callable[[Twin, str, Mapping[str, float]], FluidityRestart]
Show = Callable[[Twin], None]  # shows what there is of an experiment


def stopwatch() -> Say:
    """Shows lines with the seconds since it was made."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)

    return say


def vary(tree: etree._ElementTree, numbers: Mapping[str, float]) -> None:
    """Change numbers in the Python functions of a model's options.

    Raises
    ------
    ValueError
        if no function has a line `name = …`
    """
    for name, value in numbers.items():
        pattern = re.compile(rf"^(\s*){re.escape(name)} = .*$", re.MULTILINE)
        replaced = 0
        for code in tree.getroot().iter("string_value"):
            if code.get("language") == "python":
                # a numpy number's own text is no Python: np.float64(76.0)
                code.text, n = pattern.subn(rf"\g<1>{name} = {float(value)!r}", code.text)
                replaced += n
        if not replaced:
            raise ValueError(f"no Python function in the options has a line '{name} = …'")


def _start(twin: Twin, case: str, name: str, numbers: Mapping[str, float]) -> FluidityRestart:
    """A cold start with its own numbers, in the mesh's folder."""
    tree = flml.read_options(twin.run / case / twin.options.name)
    vary(tree, numbers)
    flml.set_option(tree, "simulation_name", name)
    path = twin.run / case / f"{name}.flml"
    flml.write_options(tree, path)
    return open_restart(path)


def _whole_start(twin: Twin, name: str, numbers: Mapping[str, float]) -> FluidityRestart:
    return _start(twin, "serial", name, numbers)


def prepare(twin: Twin, say: Say) -> None:
    """Copy the case, once as it is and once with its mesh cut for the model's processes."""
    mesh = twin.mesh
    assert mesh is not None  # an .flml names one
    for name in ("case", "serial"):
        case = twin.run / name
        case.mkdir(parents=True)
        shutil.copy(twin.options, case)
        shutil.copy(mesh, case)
    case = twin.run / "case"
    if twin.model.processes > 1:
        say(f"cutting the mesh into {twin.model.processes} pieces")
        command("coupling.embedded.decompose", case / mesh.name, twin.model.processes)


def train(twin: Twin, say: Say, start: Start | None = None) -> None:
    """Earlier runs of the model under other winds, each packed into an archive without its spin-up.

    Each runs on one process, as many side by side as there are cores: that takes less time than one after another on
    several processes. An archive that is there already is kept.

    start : function of a module, which gives the cold start of a run by its name and numbers; left out where the
        options have lines for the numbers
    """
    runs = len(twin.training)
    cores = len(os.sched_getaffinity(0))
    say(f"{runs} earlier runs, {min(cores, runs)} at a time")
    # fork would give the workers our MPI
    with ProcessPoolExecutor(min(cores, runs), mp_context=get_context("spawn")) as workers:
        for k, _ in enumerate(workers.map(_earlier_run, repeat(twin), range(runs), repeat(start or _whole_start))):
            say(f"earlier run {k + 1} of {runs}: {_listed(twin.training[k])}")


def _earlier_run(twin: Twin, k: int, start: Start) -> None:
    folder, name = twin.run / "training", f"earlier{k}"
    if (folder / f"{k}.vtkhdf").is_file():
        return
    shutil.rmtree(folder / name, ignore_errors=True)
    cold = start(twin, name, twin.training[k])
    alone = replace(cast(FluidityModel, twin.model), processes=1)
    alone.run(cold, twin.spin_up + twin.training_time, folder / name, COMM)
    words = ("plugin.archive", "pack", folder / f"{k}.vtkhdf", folder / name, "--from", twin.spin_up)
    command(*words, quiet=True)
    shutil.rmtree(folder / name)


def simulate(twin: Twin, say: Say) -> None:
    """The truth, the forecast model's spin-up, and its free run."""
    end = twin.spin_up + twin.window * twin.windows
    say(f"truth: {_listed(twin.truth)}")
    twin.model.run(_start(twin, "case", "truth", twin.truth), end, twin.run / "truth", COMM)
    say("forecast: spin-up, then the free run")
    spun = twin.model.run(_start(twin, "case", "forecast", {}), twin.spin_up, twin.run / "spin-up", COMM)
    start = write_restart(spun.restart, twin.run / "start", COMM)
    twin.model.run(start, end, twin.run / "free", COMM)


def assimilate(twin: Twin, processes: int, say: Say, show: Show = lambda _: None) -> None:
    """The cycles, as a user starts them; a missing network is trained first. What is there is shown after each."""
    mpirun, ready = launcher(processes), dict[str, Path]()
    for name, file in twin.cycles.items():
        case = read_case(file)
        if case.network is not None and not case.network.file.exists():
            say(f"{name}: training {case.network.name}")
            command("plugin.train", file, under=mpirun)
        say(f"{name}: the cycle")
        command("plugin.cycle", file, under=mpirun)
        ready[name] = file
        show(replace(twin, cycles=dict(ready)))


def allow_mpirun() -> None:
    """Let this process start mpirun as root, and with more ranks than cores."""
    for name, value in _ALLOWED.items():
        os.environ.setdefault(name, value)


def launcher(processes: int) -> list[str]:
    """The command-line prefix for this number of MPI ranks."""
    return ["mpirun", "-n", str(processes)] if processes > 1 else []


def command(module: str, *words: object, under: Sequence[str] = (), quiet: bool = False) -> None:
    """Run one of the project's commands and show its output, or only its errors."""
    line = [*under, sys.executable, "-m", module, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run(line, env=environment, stdout=subprocess.DEVNULL if quiet else None)
    if ended.returncode:
        raise SystemExit(f"{' '.join(line)} ended with exit code {ended.returncode}")


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())


def dumps(twin: Twin, name: str) -> Series:
    """What a run of an experiment left, `truth` or `free`, as a series in time."""
    return twin.model.simulation.open_series(twin.run / name, COMM)


def analysis_times(twin: Twin) -> np.ndarray:
    """(windows,) [s]"""
    return twin.spin_up + twin.window * np.arange(1, twin.windows + 1)


def values_at(series: Series, times: Sequence[float] | np.ndarray, places: np.ndarray, variable: str) -> np.ndarray:
    """(times, places) values of a variable, read from the dumps nearest in time; NaN outside the air."""
    name, _, letter = variable.partition(".")
    values, samplings = np.empty((len(times), len(places))), dict[str, tuple]()
    for k, moment in enumerate(times):
        field = series.read(int(np.argmin(np.abs(np.asarray(series.times) - moment))), [name])[name]
        if field.mesh.fingerprint not in samplings:
            samplings[field.mesh.fingerprint] = sampling(field.mesh, field.location, places, COMM)
        matrix, inside = samplings[field.mesh.fingerprint]
        column = field.values if not letter else field.values[:, "xyz".index(letter)]
        values[k] = np.where(inside, multiply(matrix, column), np.nan)
    return values


def read_sensors(twin: Twin, path: Path) -> None:
    """Write the readings: the truth at the sensors at every analysis time, plus noise."""
    truth, rng = dumps(twin, "truth"), np.random.default_rng(twin.seed)
    times = analysis_times(twin)
    station = {tuple(place): f"S{k:02d}" for k, place in enumerate(twin.sensors)}
    with whole_file(path) as beside, open(beside, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "x", "y", "z", "variable", "value", "error", "station"])
        for network in twin.networks:
            true = values_at(truth, times, network.places, network.variable)
            noisy = true + network.error * rng.standard_normal(true.shape)
            for time, row in zip(times, noisy, strict=True):
                for place, value in zip(network.places, row, strict=True):
                    table.writerow(
                        [time, *place, network.variable, f"{value:.6g}", network.error, station[tuple(place)]]
                    )


def run_twin(twin: Twin, processes: int, say: Say, show: Show = lambda _: None) -> None:
    """All stages, the cycles last, on `processes` ranks. The run folder must be new.

    show : gets the experiment with the cycles that have run: none yet, then one more after each
    """
    prepare(twin, say)
    simulate(twin, say)
    read_sensors(twin, twin.run / "readings.csv")
    say(f"{len(twin.sensors)} sensors read at {twin.windows} times")
    show(replace(twin, cycles={}))
    train(twin, say)
    assimilate(twin, processes, say, show)
