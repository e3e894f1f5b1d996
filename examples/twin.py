"""Twin experiments: a truth run plays nature, sensors are read from it, a wrong forecast is to follow it.

Truth and forecast are the same model with other numbers in the Python functions of its options
(lines like `wind_from = 0.0`). The forecast never sees the truth but through the sensors. What is
learnt of background errors comes from earlier runs of the forecast model under other winds.
"""

import csv
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling import flml
from coupling.checkpoint import open_restart
from coupling.files import whole_file
from coupling.forecast import FluidityModel
from coupling.interpolation import multiply, sampling
from coupling.series import open_series

COMM = MPI.COMM_SELF


@dataclass(frozen=True)
class Twin:
    """A twin experiment.

    options : the model's .flml; its Python functions hold the numbers that `truth` and `training` change
    model : the driver
    run : folder for everything that is made
    truth : {name: value} of the true wind and source; the forecast keeps the options' own
    training : list of such dictionaries, one earlier run each
    spin_up : time before the first window [s]
    training_time : length of each earlier run after its own spin-up [s]
    window, windows : time between analyses [s], and their number
    sensors : (k, 3) places [m]
    errors : {variable: standard deviation of the sensors' errors}
    """

    options: Path
    model: FluidityModel
    run: Path
    truth: dict[str, float]
    training: list[dict[str, float]]
    spin_up: float
    training_time: float
    window: float
    windows: int
    sensors: np.ndarray
    errors: dict[str, float]
    seed: int = 2020
    names: tuple[str, ...] = field(default=())


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


def prepare(twin, mesh, say):
    """Copy the case and cut its mesh for the model's processes."""
    case = twin.run / "case"
    case.mkdir(parents=True)
    shutil.copy(twin.options, case)
    shutil.copy(mesh, case)
    if twin.model.processes > 1:
        say(f"cutting the mesh into {twin.model.processes} pieces")
        words = [sys.executable, "-m", "coupling.embedded.decompose", case / mesh.name, twin.model.processes]
        subprocess.run([str(word) for word in words], check=True)
        (case / mesh.name).unlink()


def train(twin, say):
    """Earlier runs of the forecast model under other winds, packed into one archive each."""
    for k, numbers in enumerate(twin.training):
        say(f"earlier run {k + 1} of {len(twin.training)}: {numbers}")
        end = twin.spin_up + twin.training_time
        twin.model.run(_start(twin, f"earlier{k}", numbers), end, twin.run / "training" / str(k), COMM)


def simulate(twin, say):
    """The truth, and the forecast model left alone; returns the restart both forecasts begin from."""
    end = twin.spin_up + twin.window * twin.windows
    say(f"truth: {twin.truth}")
    twin.model.run(_start(twin, "truth", twin.truth), end, twin.run / "truth", COMM)
    say("forecast: spin-up, then the free run")
    begin = twin.model.run(_start(twin, "forecast", {}), twin.spin_up, twin.run / "spin-up", COMM).restart
    twin.model.run(begin, end, twin.run / "free", COMM)
    return begin


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
    with whole_file(path) as beside, open(beside, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "x", "y", "z", "variable", "value", "error", "station"])
        for variable, error in twin.errors.items():
            true = values_at(truth, times, twin.sensors, variable)
            noisy = true + error * rng.standard_normal(true.shape)
            for time, row in zip(times, noisy):
                for station, (place, value) in enumerate(zip(twin.sensors, row)):
                    table.writerow([time, *place, variable, f"{value:.6g}", error, f"S{station:02d}"])


def smaller(twin, windows):
    """The same experiment with fewer windows, for a quick look."""
    return replace(twin, windows=windows)
