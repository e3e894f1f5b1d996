"""Twins with three unknown numbers: speed of the wind, place and strength of a source.

FOLDER/start          a cold start of the embedded model whose Python functions read parameters.json
FOLDER/checkpoint     one step later, for `plume_model`
FOLDER/embedded.csv   readings of a run of the embedded model with TRUTH at every dump, with noise
FOLDER/plume.csv      the same of `plume_model`
"""

import csv
import json

import numpy as np
import plume_model
import yaml
from cycle_case import COMM, SENSORS, STEP, values_at, write_case, write_readings

from coupling.archive.series import open_series
from coupling.fluidity.checkpoint import open_restart, write_restart
from coupling.fluidity.driver import embedded_model
from coupling.simulation.parameters import Numbers
from plugin.run.ledger import read_ledger

TRUTH = {"speed": 1.1, "source_y": 33.0, "strength": 1.4}
PRIORS = {
    "speed": {"lognormal": [0.8, 0.3]},
    "source_y": {"uniform": [20.0, 60.0]},
    "strength": {"normal": [1.0, 0.3]},
}
STD = {"speed": 0.25, "source_y": 11.5, "strength": 0.3}  # of the priors
PERIOD, ERROR = 24.0, 0.05
_READS = "    import json\n    p = json.load(open('parameters.json'))\n"


def write_start(folder):
    """The cold start; returns its options file."""
    options = write_case(folder)
    text = options.read_text(encoding="utf-8")
    for old, new in (
        ("0.8*log(", "p['speed']*log("),
        ("(X[1] - 40.0)**2 + (X[2] - 5.0)", "(X[1] - p['source_y'])**2 + (X[2] - 5.0)"),
        ("return (1.0 + 0.5*sin", "return p['strength']*(1.0 + 0.5*sin"),
        ("def val(X, t):\n    from math import sin, cos", f"def val(X, t):\n{_READS}    from math import sin, cos"),
        ("def val(X, t):\n    from math import exp, sin", f"def val(X, t):\n{_READS}    from math import exp, sin"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    options.write_text(text, encoding="utf-8")
    return options


def make_case(folder):
    """Make all that the docstring above names; two short runs of the embedded model."""
    start = open_restart(write_start(folder / "start"))
    truth = write_restart(start, folder / "truth", COMM, numbers=Numbers({}, TRUTH))
    run = embedded_model(timeout=60).run(truth, PERIOD, folder / "embedded", COMM)
    _read(run.folder, folder / "embedded.csv", {"Tracer": ERROR, "Velocity.x": 0.05})
    first = embedded_model(timeout=60).run(truth, STEP, folder / "step", COMM).restart
    write_restart(first, folder / "checkpoint", COMM, numbers=Numbers({}, TRUTH))
    plume = plume_model.driver().run(
        open_restart(folder / "checkpoint/restart.flml"), PERIOD + STEP, folder / "plume", COMM
    )
    _read(plume.folder, folder / "plume.csv", {"Tracer": ERROR})
    return folder


def _read(dumps, path, errors):
    rng, rows = np.random.default_rng(4), []
    with open_series(dumps, COMM) as series:
        for number, time in enumerate(series.times):
            if number == 0:
                continue
            state = series.read(number, ["Tracer", "Velocity"] if len(errors) > 1 else ["Tracer"])
            for variable, error in errors.items():
                noisy = values_at(state, SENSORS, variable) + error * rng.normal(size=len(SENSORS))
                rows += [(time, *place, variable, value, error) for place, value in zip(SENSORS, noisy, strict=True)]
    write_readings(path, rows)


def settings(folder, run, kind="plume", members=12, **changes):
    """Settings of an estimate; `changes` are whole sections."""
    of = {
        "embedded": {"driver": "embedded", "start": str(folder / "start/case.flml"), "timeout": 60},
        "plume": {"driver": "plume_model:driver", "start": str(folder / "checkpoint/restart.flml")},
    }
    return {
        "model": of[kind],
        "cycle": {"window": PERIOD / 2, "windows": 2},
        "grid": {"spacing": 8.0},
        "variables": ["Tracer"] if kind == "plume" else ["Tracer", "Velocity"],
        "background": {"snapshots": [{"path": str(folder / "embedded")}]},
        "observations": {"file": str(folder / f"{kind}.csv"), "window": "interpolate"},
        "ensemble": {"members": members, "start": {"from": "restart"}, "seed": 3},
        "parameters": {name: {"prior": of, "to": {"file": "parameters.json"}} for name, of in PRIORS.items()},
        "run": str(run),
        **changes,
    }


def write_settings(path, *words, **changes):
    """Write settings as a case file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings(*words, **changes), sort_keys=False))
    return path


def table(path):
    """Rows of a CSV file, each a dict of texts."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def left_by(run):
    """What an estimate leaves, but for what clocks told: entries of its ledger, and bytes of its tables."""
    entries = read_ledger(run / "estimate/ledger.jsonl")
    for entry in entries:
        del entry["seconds"], entry["model_seconds"]
    tables = sorted((run / "estimate").rglob("*.csv"))
    return json.dumps(entries), {str(path.relative_to(run)): path.read_bytes() for path in tables}
