"""The embedded model's small case as a whole twin experiment, for the tests of the cycle.

FOLDER/start-1, start-2    the case, for the model on one and on two processes
FOLDER/training/0 … 2      earlier runs with other winds and sources
FOLDER/truth               a run whose source lies elsewhere, in a stronger wind
FOLDER/readings.csv        the truth at SENSORS at the end of every window, without noise
"""

import csv
import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import yaml
from mpi4py import MPI
from mpi_words import mpirun_words
from places import ROOT

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.fluidity.driver import embedded_model
from coupling.geometry.interpolation import multiply, sampling
from coupling.simulation.launch import clean_environment
from coupling.vtk.vtu import read_state
from plugin.run.ledger import read_ledger

COMM = MPI.COMM_SELF
FIELDS = ("Tracer", "Velocity", "Smoke")  # what the model solves for
STEP, WINDOW, WINDOWS = 2.0, 8.0, 3  # s
ERROR = {"Tracer": 0.2, "Velocity.x": 0.05, "Velocity.y": 0.05}  # [tracer's unit], m/s
SENSORS = np.array([(x, y, z) for x in (12, 22, 32) for y in (22, 32, 42, 56) for z in (3, 8)], float)
NOT_SENSORS = np.array([(x, y, z) for x in (17, 27, 33) for y in (27, 37, 43) for z in (2, 5, 10)], float)
IN_A_BUILDING = (45.0, 22.0, 5.0)
# what a run has of its own: speed of the wind, how far it blows sideways, and where the source lies across the street
TRAINING = (
    {"speed": 0.6, "side": 0.3, "y": 48.0},
    {"speed": 1.1, "side": -0.2, "y": 26.0},
    {"speed": 0.8, "side": 0.0, "y": 37.0},
)
TRUTH = {"speed": 1.0, "side": 0.1, "y": 31.0}


def write_case(folder, speed=0.8, side=0.0, y=40.0, start=0.0, step=STEP):
    """A cold start of the case in a new folder, with longer steps than its own and no dumps between windows' ends."""
    folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "tests/data/embedded/mesh.msh", folder / "mesh.msh")
    text = (ROOT / "tests/data/embedded/case.flml").read_text(encoding="utf-8")
    for old, new in (
        ("0.8*log(", f"{speed}*log("),
        ("angle = ", f"angle = {side} + "),
        ("(X[1] - 40.0)**2 + (X[2] - 5.0)", f"(X[1] - {y})**2 + (X[2] - 5.0)"),
        ('<timestep><real_value rank="0">0.5<', f'<timestep><real_value rank="0">{step}<'),
        (
            '<dump_period><constant><real_value rank="0">2.0<',
            f'<dump_period><constant><real_value rank="0">{WINDOW / 2}<',
        ),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "case.flml").write_text(text, encoding="utf-8")
    return folder / "case.flml"


def cut(options, processes):
    """Cut the mesh beside an options file."""
    words = [sys.executable, "-m", "coupling.embedded.decompose", "mesh.msh", str(processes)]
    environment = clean_environment(options.parent, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    subprocess.run(words, cwd=options.parent, env=environment, check=True)
    (options.parent / "mesh.msh").unlink()


def make_case(folder):
    """Make all that the docstring above tells; a few seconds."""
    write_case(folder / "start-1")
    cut(write_case(folder / "start-2"), 2)
    model = embedded_model(timeout=60)
    for k, numbers in enumerate(TRAINING):
        start = open_restart(write_case(folder / f"start-of-{k}", **numbers))
        model.run(start, 5 * WINDOW, folder / "training" / str(k), COMM)
    truth = open_restart(write_case(folder / "start-of-truth", **TRUTH))
    model.run(truth, WINDOWS * WINDOW, folder / "truth", COMM)
    rows = []
    for number in range(1, WINDOWS + 1):
        state = read_state(folder / f"truth/case_{2 * number}.vtu", COMM)
        for variable in ERROR:
            values = values_at(state, SENSORS, variable)
            rows += [
                (state.time, *place, variable, value, ERROR[variable])
                for place, value in zip(SENSORS, values, strict=True)
            ]
    write_readings(folder / "readings.csv", rows)
    return folder


def write_readings(path, rows):
    """Rows of (time, x, y, z, variable, value, error) as CSV; returns the path."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("time", "x", "y", "z", "variable", "value", "error"), *rows])
    return path


def settings(folder, run, processes=1, **changes):
    """Settings of a cycle on the case in `folder`; `changes` are section__key=value, or whole sections."""
    found = {
        "model": {
            "driver": "embedded",
            "start": str(folder / f"start-{processes}/case.flml"),
            "processes": processes,
            "timeout": 60,
        },
        "cycle": {"window": WINDOW, "windows": WINDOWS},
        "grid": {"spacing": 8.0},
        "variables": ["Tracer", "Velocity"],
        "background": {
            "snapshots": [{"path": str(folder / f"training/{k}"), "from": 8} for k in range(3)],
            "truncation": 16,
        },
        "observations": {"file": str(folder / "readings.csv")},
        "run": str(run),
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            found.setdefault(section, {})[key] = value
        else:
            found[section] = value
    return found


def write_settings(path, *words, **changes):
    """Write settings as a case file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings(*words, **changes), sort_keys=False))
    return path


MODEL = f"""#!/bin/bash
# the embedded model; in window 2 it waits for ever, or fails, if it is told so
cd "$PWD"
if [[ $PWD == */0002/* && -e {{folder}}/wait ]]; then
  echo $$ > {{folder}}/pid.new; mv {{folder}}/pid.new {{folder}}/pid; exec sleep 600
elif [[ $PWD == */0002/* && -e {{folder}}/fail ]]; then
  seq -f 'line %g' 30; echo 'the last line'; exit 7
fi
exec env PYTHONPATH={ROOT} {sys.executable} -m coupling.embedded "$@"
"""


def own_model(folder):
    """Settings of a model that does what a file `wait` or `fail` in the folder tells it."""
    path = folder / "model"
    path.write_text(MODEL.format(folder=folder))
    path.chmod(0o755)
    return {"model__driver": "fluidity", "model__program": [str(path)]}


def cycle(*words, ranks=1, code=0):
    """Run the cycle as a person does; its CompletedProcess, once it has ended with exit code `code`."""
    ended = python(ranks, "-m", "plugin.cycle", *words)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def python(ranks, *words):
    """Run Python on so many ranks, without mpi4py's own handling of errors; its CompletedProcess."""
    ended = subprocess.run(command(ranks, *words), env=environment(), cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode != 124, "stopped by the time-out\n" + ended.stdout + ended.stderr
    return ended


def command(ranks, *words):
    """The words that start Python on so many ranks, with a time-out that leaves none behind."""
    launcher = mpirun_words(ranks) if ranks > 1 else []
    return ["timeout", "120", *launcher, sys.executable, *map(str, words)]


def environment():
    """The environment of a command here."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def values_at(state, places, variable):
    """(M,) values of a variable at places in the air, from a serial state."""
    name, _, letter = variable.partition(".")
    of = state[name]
    matrix, inside = sampling(of.mesh, of.location, places, COMM)
    assert inside.all(), np.asarray(places)[~inside]
    values = multiply(matrix, of.values)
    return values if not letter else values[:, "xyz".index(letter)]


def analysis(run, number):
    """State of a window's analysis."""
    return read_fields(open_restart(run / f"{number:04d}/analysis/restart.flml"), COMM)


def forecast(run, number):
    """State of a window's forecast: the checkpoint at its end."""
    (options,) = (run / f"{number:04d}/forecast").glob("*_checkpoint.flml")
    return read_fields(open_restart(options), COMM)


def first_dump(run, number):
    """State the model of a window began from, as the model tells it."""
    (path,) = [p for p in (run / f"{number:04d}/forecast").glob("case_0.*vtu")]
    return read_state(path, COMM)


def ledger(run):
    """The ledger's entries without what a clock told."""
    entries = read_ledger(run / "ledger.jsonl")
    for entry in entries:
        for part in (entry, entry.get("analysis", {})):
            part.pop("seconds", None)
        del entry["model_seconds"]
    return entries


def table(run, number):
    """Rows of a window's readings.csv, each a dict of texts."""
    with open(run / f"{number:04d}/readings.csv", newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    """{name: hash} of all files in a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }
