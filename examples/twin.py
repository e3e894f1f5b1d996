"""Twin experiments: a truth run plays nature, sensors are read from it, a wrong forecast is to follow it.

Truth and forecast are the same model with other numbers in the Python functions of its options
(lines like `wind_angle = 0.0`). The forecast never sees the truth but through the sensors. What is
learnt of background errors comes from earlier runs of the model under other winds.

    RUN/case/          options and mesh, cut for the model's processes
    RUN/training/      earlier runs and their archives, k.vtkhdf
    RUN/truth/         what the sensors saw
    RUN/free/          the forecast without any analysis
    RUN/start/         the restart that free run and cycle begin from
    RUN/readings.csv   the sensors' readings
    RUN/cycle/         what a cycle wrote; each has a folder of its own, as its case file says
    RUN/report.html    errors and pictures; figures.json holds the numbers
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.archive.series import open_series
from coupling.common.files import whole_file
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart, write_restart
from coupling.fluidity.driver import FluidityModel
from coupling.geometry.interpolation import multiply, sampling
from plugin.case.configuration import read_case

COMM = MPI.COMM_SELF
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Network:
    """Sensors of one variable: their (k, 3) places [m] and the standard deviation of their errors."""

    variable: str
    places: np.ndarray
    error: float


@dataclass(frozen=True)
class Twin:
    """A twin experiment.

    options : the model's .flml; its Python functions hold the numbers that `truth` and `training` change
    mesh : the mesh that the options name (.msh)
    model : the driver
    cycles : {name: settings of a cycle (YAML)}; their paths lead into `run`
    run : folder for everything that is made
    truth : {name: value} of the true wind and source; the forecast keeps the options' own
    training : one such dictionary for each earlier run
    spin_up : length of the time before the first window [s]
    training_time : length of each earlier run after its own spin-up [s]
    window, windows : time between analyses [s], and their number
    networks : what is measured, where and how well
    seed : of the sensors' errors and the places to score
    """

    options: Path
    mesh: Path
    model: FluidityModel
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
    def sensors(self):
        """(k, 3) all places where anything is measured [m]."""
        return np.unique(np.concatenate([network.places for network in self.networks]), axis=0)


def vary(tree, numbers):
    """Change numbers in the Python functions of a model's options.

    Raises
    ------
    ValueError
        if no function has a line `name = …`
    """
    for name, value in numbers.items():
        pattern = re.compile(rf"^(\s*){re.escape(name)} = .*$", re.MULTILINE)
        found = 0
        for code in tree.getroot().iter("string_value"):
            if code.get("language") == "python":
                code.text, n = pattern.subn(rf"\g<1>{name} = {value!r}", code.text)
                found += n
        if not found:
            raise ValueError(f"no Python function in the options has a line '{name} = …'")


def _start(twin, name, numbers):
    """A cold start with its own numbers, beside the mesh."""
    tree = flml.read_options(twin.run / "case" / twin.options.name)
    vary(tree, numbers)
    flml.set_option(tree, "simulation_name", name)
    path = twin.run / "case" / f"{name}.flml"
    flml.write_options(tree, path)
    return open_restart(path)


def prepare(twin, say):
    """Copy the case and cut its mesh for the model's processes."""
    case = twin.run / "case"
    case.mkdir(parents=True)
    shutil.copy(twin.options, case)
    shutil.copy(twin.mesh, case)
    if twin.model.processes > 1:
        say(f"cutting the mesh into {twin.model.processes} pieces")
        command("coupling.embedded.decompose", case / twin.mesh.name, twin.model.processes)


def train(twin, say):
    """Earlier runs of the model under other winds, each packed into an archive without its spin-up."""
    for k, numbers in enumerate(twin.training):
        say(f"earlier run {k + 1} of {len(twin.training)}: {_told(numbers)}")
        folder, name = twin.run / "training", f"earlier{k}"
        twin.model.run(_start(twin, name, numbers), twin.spin_up + twin.training_time, folder / name, COMM)
        command("plugin.archive", "pack", folder / f"{k}.vtkhdf", folder / name, "--from", twin.spin_up)
        shutil.rmtree(folder / name)


def simulate(twin, say):
    """The truth, the forecast model's spin-up, and its free run."""
    end = twin.spin_up + twin.window * twin.windows
    say(f"truth: {_told(twin.truth)}")
    twin.model.run(_start(twin, "truth", twin.truth), end, twin.run / "truth", COMM)
    say("forecast: spin-up, then the free run")
    spun = twin.model.run(_start(twin, "forecast", {}), twin.spin_up, twin.run / "spin-up", COMM)
    start = write_restart(spun.restart, twin.run / "start", COMM)
    twin.model.run(start, end, twin.run / "free", COMM)


def assimilate(twin, processes, say):
    """The cycles, as a user starts them; a network that is not there yet is trained before."""
    mpirun = launcher(processes)
    for name, file in twin.cycles.items():
        case = read_case(file)
        if case.network is not None and not case.network.file.exists():
            say(f"{name}: training {case.network.name}")
            command("plugin.train", file, under=mpirun)
        say(f"{name}: the cycle")
        command("plugin.cycle", file, under=mpirun)


def launcher(processes):
    """The words that start a command on some MPI ranks."""
    return ["mpirun", "-n", str(processes)] if processes > 1 else []


def command(module, *words, under=()):
    """Run one of the plugin's commands and show what it says."""
    line = [*under, sys.executable, "-m", module, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run(line, env=environment)
    if ended.returncode:
        raise SystemExit(f"{' '.join(line)} ended with exit code {ended.returncode}")


def _told(numbers):
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())


def dumps(folder, name):
    """A run's dumps as a series in time."""
    found = [p for p in Path(folder).iterdir() if re.fullmatch(rf"{name}_\d+\.p?vtu", p.name)]
    return open_series(found, COMM)


def analysis_times(twin):
    """(windows,) [s]"""
    return twin.spin_up + twin.window * np.arange(1, twin.windows + 1)


def values_at(series, times, places, variable):
    """(times, places) values of a variable, read from the dumps nearest in time; NaN outside the air."""
    name, _, letter = variable.partition(".")
    values, at = np.empty((len(times), len(places))), {}
    for k, time in enumerate(times):
        of = series.read(int(np.argmin(np.abs(np.asarray(series.times) - time))), [name])[name]
        if of.mesh.fingerprint not in at:
            at[of.mesh.fingerprint] = sampling(of.mesh, of.location, places, COMM)
        matrix, inside = at[of.mesh.fingerprint]
        column = of.values if not letter else of.values[:, "xyz".index(letter)]
        values[k] = np.where(inside, multiply(matrix, column), np.nan)
    return values


def read_sensors(twin, path):
    """Write the readings: truth at the sensors at every analysis time, with noise."""
    truth, rng = dumps(twin.run / "truth", "truth"), np.random.default_rng(twin.seed)
    times = analysis_times(twin)
    station = {tuple(place): f"S{k:02d}" for k, place in enumerate(twin.sensors)}
    with whole_file(path) as beside, open(beside, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "x", "y", "z", "variable", "value", "error", "station"])
        for network in twin.networks:
            true = values_at(truth, times, network.places, network.variable)
            noisy = true + network.error * rng.standard_normal(true.shape)
            for time, row in zip(times, noisy):
                for place, value in zip(network.places, row):
                    table.writerow([time, *place, network.variable, f"{value:.6g}", network.error, station[tuple(place)]])


def run_twin(twin, processes, say):
    """All stages up to the cycles; these run on `processes` ranks. The run folder must be new."""
    prepare(twin, say)
    train(twin, say)
    simulate(twin, say)
    read_sensors(twin, twin.run / "readings.csv")
    say(f"{len(twin.sensors)} sensors read at {twin.windows} times")
    assimilate(twin, processes, say)
