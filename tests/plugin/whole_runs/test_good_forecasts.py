"""A cycle whose forecast is far better than earlier runs suggest: its analyses do no harm between the sensors."""

import shutil

import numpy as np
import pytest
from cycle_case import (
    COMM,
    ERROR,
    NOT_SENSORS,
    SENSORS,
    WINDOW,
    analysis,
    cycle,
    forecast,
    ledger,
    make_case,
    values_at,
    write_case,
    write_readings,
    write_settings,
)

from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import embedded_model
from coupling.vtk.vtu import read_state

WINDOWS = 5
AS_IN_THE_SAMPLE = {"background__between": "sample", "background__adaptive": None, "analysis": {"guard": "warn"}}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Earlier runs under very different winds and sources; a truth that is nearly the forecast's own; noisy sensors."""
    folder = make_case(tmp_path_factory.mktemp("good") / "case")
    shutil.rmtree(folder / "truth")
    start = open_restart(write_case(folder / "start-of-good-truth", speed=0.84, side=0.02, y=39.5))
    embedded_model(timeout=60).run(start, WINDOWS * WINDOW, folder / "truth", COMM)
    rows, rng = [], np.random.default_rng(5)
    for number in range(1, WINDOWS + 1):
        state = truth(folder, number)
        for variable, error in ERROR.items():
            values = values_at(state, SENSORS, variable) + error * rng.normal(size=len(SENSORS))
            rows += [(state.time, *p, variable, value, error) for p, value in zip(SENSORS, values, strict=True)]
    write_readings(folder / "readings.csv", rows)
    return folder


def truth(folder, number):
    return read_state(folder / f"truth/case_{2 * number}.vtu", COMM)


def errors(folder, run, variables):
    """(windows, 2) root mean square errors of forecast and analysis where there are no sensors."""
    found = []
    for number in range(1, WINDOWS + 1):
        true = truth(folder, number)
        wrong = [
            np.concatenate([values_at(of, NOT_SENSORS, v) - values_at(true, NOT_SENSORS, v) for v in variables])
            for of in (forecast(run, number), analysis(run, number))
        ]
        found.append([np.sqrt(np.mean(of**2)) for of in wrong])
    return np.array(found)


FIELDS = (["Tracer"], ["Velocity.x", "Velocity.y"])


def test_what_nothing_is_said_of_does_no_harm(case, tmp_path):
    cycle(write_settings(tmp_path / "case.yml", case, tmp_path / "run", cycle__windows=WINDOWS))
    for variables in FIELDS:
        before, after = errors(case, tmp_path / "run", variables).T
        assert np.all(after <= before * 1.001), (variables, before, after)
    entries = ledger(tmp_path / "run")
    assert all(entry["guard"]["action"] == "shrink" for entry in entries)
    assert all(entry["background_factors"]["Tracer"] < 1.0 for entry in entries)


def test_the_sample_as_it_is_does(case, tmp_path):
    """Without factor, guard, and with all covariances: otherwise the test above would show nothing."""
    cycle(write_settings(tmp_path / "case.yml", case, tmp_path / "run", cycle__windows=WINDOWS, **AS_IN_THE_SAMPLE))
    worse = [np.sum(np.diff(errors(case, tmp_path / "run", variables)) > 0.0) for variables in FIELDS]
    assert sum(worse) >= 3, worse
