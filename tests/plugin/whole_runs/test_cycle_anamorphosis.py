"""A cycle that analyses the root of the tracer: never below zero, and nearer to the truth."""

import numpy as np
import pytest
from cycle_case import COMM, NOT_SENSORS, SENSORS, WINDOWS, analysis, cycle, forecast, ledger, values_at, write_settings

from coupling.archive import Archive
from coupling.vtk.vtu import read_state
from plugin.case.configuration import read_case
from plugin.reanalysis import reanalyse


@pytest.fixture(scope="module")
def runs(twin, tmp_path_factory):
    """{kind: run folder}: the tracer analysed as it is, and its root."""
    made = {}
    for kind, more in (("plain", {}), ("sqrt", {"background__variables": {"Tracer": {"anamorphosis": "sqrt"}}})):
        folder = tmp_path_factory.mktemp(kind)
        file = write_settings(folder / "case.yml", twin, folder / "run", **more)
        cycle(file)
        made[kind] = folder / "run"
    return made


def distance(state, truth, places):
    return np.linalg.norm(values_at(state, places, "Tracer") - values_at(truth, places, "Tracer"))


def test_it_stays_above_zero_and_helps(twin, runs):
    below = []
    for number in range(1, WINDOWS + 1):
        truth = read_state(twin / f"truth/case_{2 * number}.vtu", COMM)
        before, after = forecast(runs["sqrt"], number), analysis(runs["sqrt"], number)
        assert after["Tracer"].values.min() >= 0.0
        for places in (SENSORS, NOT_SENSORS):
            assert distance(after, truth, places) < distance(before, truth, places)
        below.append(analysis(runs["plain"], number)["Tracer"].values.min())
    assert min(below) < 0.0
    for entry in ledger(runs["sqrt"]):
        assert entry["used"] and entry["analysis"]["cost"] < entry["analysis"]["cost_initial"]


def test_a_reanalysis_and_its_errors(twin, tmp_path):
    given = {
        "states": [{"path": str(twin / "training/0"), "from": 8, "until": 16}],
        "output": str(tmp_path / "analyses.vtkhdf"),
        "keep": ["analysis", "std"],
    }
    words = {"reanalysis": given, "background__variables": {"Tracer": {"anamorphosis": "sqrt", "offset": 1e-3}}}
    file = write_settings(tmp_path / "case.yml", twin, tmp_path / "run", **words)
    reanalyse(read_case(file, needed=()), COMM)
    with Archive(tmp_path / "analyses.vtkhdf", COMM) as archive:
        for number in range(len(archive)):
            state = archive.read(number)
            tracer, std = state["Tracer"].values, state["Tracer_std"].values
            assert tracer.min() >= 0.0 and (std > 0.0).any() and np.isfinite(std).all()
            # errors of the root times its slope: small where there is no tracer
            assert std[tracer < 1e-6].max(initial=0.0) < 0.2 * std.max()
