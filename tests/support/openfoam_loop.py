"""A twin experiment around the small case of OpenFOAM, for the tests of the closed loop.

FOLDER/start-1, start-2    the case at its time 2, for OpenFOAM on one and on two processes
FOLDER/earlier/0 … 3       earlier runs, their tracer, source and wind stronger or weaker
FOLDER/truth               a run whose tracer and source are half as much again, its wind a tenth faster at the start
FOLDER/readings.csv        the truth at SENSORS at the end of every window, without noise
FOLDER/model               pimpleFoam, which waits or fails in window 2 where a file of that name tells it to
"""

import shutil

import numpy as np
import yaml
from cycle_case import COMM, ledger, values_at, write_readings
from openfoam import HOME, small_case

from coupling.openfoam.driver import OpenFoamModel
from coupling.openfoam.simulation import OPENFOAM
from coupling.simulation.parameters import Numbers

BEGAN, WINDOW, WINDOWS = 2.0, 1.0, 3  # s
STRENGTH = "system/controlDict:functions/tracer/fvOptions/kerb/injectionRateSuSp/T[0]"
VISCOSITY = "constant/transportProperties:nu"
ERROR = {"T": 0.03, "U.x": 0.2, "U.y": 0.2}  # what a grid of 10 m does not show counts as error
SENSORS = np.array([(x, y, z) for x in (50, 60, 70, 85) for y in (52, 60, 68) for z in (3, 9)], float)
# tracer and wind times so much, source, viscosity
EARLIER = ((0.4, 0.9, 60.0, 0.02), (0.8, 1.05, 90.0, 0.01), (1.7, 0.95, 160.0, 0.01), (2.2, 1.15, 210.0, 0.03))
TRUE = 1.5, 1.1, 150.0, 0.01
PLAIN = {"lengths": None, "adaptive": None}  # the truth is nearly a mode's multiple
MODEL = """#!/bin/bash
export WM_PROJECT_DIR=${{WM_PROJECT_DIR:-{home}}}
if [[ $PWD == */0002/* && -e {folder}/wait ]]; then
  echo $$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; exec sleep 600
elif [[ $PWD == */0002/* && -e {folder}/fail ]]; then
  sed -i 's/default Euler/default NoSuchScheme/' system/fvSchemes
fi
exec pimpleFoam "$@"
"""


def make_case(folder):
    """Make all that the docstring above tells; some ten seconds of OpenFOAM."""
    folder.mkdir()
    for n in (1, 2):
        start = small_case(folder / f"start-{n}", n)
        shutil.rmtree(start / "0")
        controls = start / "system/controlDict"
        controls.write_text(controls.read_text().replace("writeInterval   2;", "writeInterval   1;"))
    start = OPENFOAM.open_restart(folder / "start-1")
    model = OpenFoamModel(timeout=120)
    for k, numbers in enumerate(EARLIER):
        model.run(changed(start, folder / f"start-of-{k}", *numbers), BEGAN + 3.0, folder / f"earlier/{k}", COMM)
    model.run(changed(start, folder / "start-of-truth", *TRUE), BEGAN + WINDOWS * WINDOW, folder / "truth", COMM)
    rows = []
    for number in range(1, WINDOWS + 1):
        state = truth(folder, number)
        for name, error in ERROR.items():
            values = values_at(state, SENSORS, name)
            rows += [(state.time, *x, name, value, error) for x, value in zip(SENSORS, values, strict=True)]
    write_readings(folder / "readings.csv", rows)
    model = folder / "model"
    model.write_text(MODEL.format(folder=folder, home=HOME))
    model.chmod(0o755)
    return folder


def changed(start, folder, tracer, wind, strength, nu):
    """A start with tracer and wind times so much, another source and viscosity."""
    state = OPENFOAM.read_fields(start, COMM, ["T", "U"])
    changes = {n: state[n].replaced(by * state[n].values) for n, by in (("T", tracer), ("U", wind))}
    numbers = Numbers({STRENGTH: strength, VISCOSITY: nu})
    return OPENFOAM.write_restart(start, folder, COMM, changes, numbers=numbers)


def truth(folder, number):
    """The truth at a window's end."""
    with OPENFOAM.open_series(folder / "truth", COMM) as series:
        return series.read(list(series.times).index(BEGAN + number * WINDOW))


def write_case(path, folder, run, processes=1, **changes):
    """Write a case file; changes : whole sections, or section__key. Returns its path."""
    found = {
        "model": {
            "driver": "openfoam", "start": str(folder / f"start-{processes}"), "processes": processes, "timeout": 120,
            "program": [str(folder / "model")],
        },
        "cycle": {"window": WINDOW, "windows": WINDOWS},
        "grid": {"spacing": 5.0},
        "variables": ["T", "U"],
        "background": {"snapshots": [{"path": str(folder / "earlier/*"), "from": BEGAN + 1.0}], **PLAIN},
        "analysis": {"guard": "off"},
        "observations": {"file": str(folder / "readings.csv")},
        "run": str(run),
    }  # fmt: skip
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            found.setdefault(section, {})[key] = value
        else:
            found[section] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(found, sort_keys=False))
    return path


def state_of(run, name):
    """The fields of a restart that a ledger names."""
    return OPENFOAM.read_fields(OPENFOAM.open_restart(run / name), COMM)


def left_by(run):
    """What must be the same however often a run was stopped: its ledger, its tables, the bits of all its restarts."""
    entries = ledger(run)
    tables = [(run / f"{entry['window']:04d}/readings.csv").read_bytes() for entry in entries]
    named = [name for entry in entries for name in (entry["forecast"], entry["restart"])]
    bits = {(name, of): field.values.tobytes() for name in named for of, field in state_of(run, name).fields.items()}
    return entries, tables, bits
