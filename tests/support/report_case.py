"""Artificial runs for the tests of the report: a ledger and tables without a model."""

import json

import numpy as np

from plugin.run.ledger import append_entry
from plugin.window.observations.table import write_table

STATIONS = ("S1", "S2", "<S3> & $co$", "kept away")
WITHHELD = STATIONS[3]


def settings(windows):
    """The settings in a run's case.json, as far as a report reads them."""
    return {
        "model": {"driver": "embedded", "processes": 1, "start": "start/case.flml", "timeout": 100.0},
        "cycle": {"window": 10.0, "windows": windows},
        "grid": {"space": "grid", "shape": None, "spacing": 8.0, "box": None},
        "variables": ["Tracer"],
        "background": {"transform": "tsvd", "truncation": 16},
        "observations": {"file": "readings.csv"},
    }


def entry(number, rows, **more):
    """A window's line of the ledger."""
    used = sum(row["used"] == "yes" for row in rows)
    numbers = {"count": used, "mean": 0.0, "std": 1.0, "rms": 1.0}
    analysis = {
        "cost_initial": 20.0, "cost": 2.0, "cost_background": 0.5, "cost_observation": 1.5,
        "gradient_norm_initial": 10.0, "gradient_norm": 1e-6,
        "reason": "CONVERGED_GATOL", "iterations": 2, "evaluations": 3, "innovation": numbers,
        "residual": numbers, "chi_squared": 0.9, "seconds": {},
        "trace": {"cost": [20.0, 4.0, 2.0], "background": [0.0, 0.4, 0.5], "gradient_norm": [10.0, 0.1, 1e-6]},
    }  # fmt: skip
    line = {
        "window": number, "time": 10.0 * number, "readings": len(rows), "used": used, "left_out": {},
        "restart": f"{number:04d}/analysis/restart.flml", "forecast": f"{number:04d}/forecast/case_checkpoint.flml",
        "seconds": {"forecast": 3.0, "analysis": 0.5, "restart": 0.1}, "model_seconds": 2.9,
    }  # fmt: skip
    return line | ({"analysis": analysis} if used else {}) | more


def rows(number, rng, stations=STATIONS, gain=0.2, elsewhere=0.6):
    """A window's table: residuals are `gain` of the innovations, `elsewhere` of them where a station is withheld."""
    table = []
    for k, station in enumerate(stations):
        innovation = float(rng.normal())
        left = elsewhere if station == WITHHELD else gain
        used = "no: withheld" if station == WITHHELD else "yes"
        table.append(_row(number, k, station, innovation, left * innovation, used))
    table.append(_row(number, len(stations), "", None, None, "no: outside the model's air"))
    return table


def _row(number, k, station, innovation, residual, used):
    place = {"x": 10.0 * k, "y": 5.0, "z": 2.0}
    return {
        "time": 10.0 * number, **place, "station": station, "variable": "Tracer", "value": 1.0, "error": 0.5,
        "innovation": innovation, "residual": residual, "used": used,
    }  # fmt: skip


def make_run(folder, windows=3, seed=1, stations=STATIONS, more=None, **gains):
    """A run's folder; `more` is {window: further items of its entry}."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps(settings(windows)))
    for number in range(1, windows + 1):
        table = rows(number, rng, stations, **gains)
        (folder / f"{number:04d}").mkdir()
        write_table(folder / f"{number:04d}" / "readings.csv", table)
        append_entry(folder / "ledger.jsonl", entry(number, table, **(more or {}).get(number, {})))
    return folder
