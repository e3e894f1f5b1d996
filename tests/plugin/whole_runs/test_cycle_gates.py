"""python -m plugin.cycle with gates, and with increments given in parts."""

import re

import numpy as np
import pytest
from comparison import assert_same
from cycle_case import (
    COMM,
    FIELDS,
    WINDOW,
    analysis,
    cycle,
    first_dump,
    forecast,
    ledger,
    make_case,
    table,
    values_at,
    write_settings,
)

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.fluidity.driver import ModelError
from coupling.geometry.mass import lumped_mass
from plugin.case.configuration import ConfigurationError, read_case
from plugin.cycle import run_cycle

GATES = {
    "largest": {"Velocity": 0.5},
    "taper": {"surfaces": [2], "distance": 15.0},
    "divergence_free": "Velocity",
    "bounds": {"Tracer": [0, None]},
    "range": {"Tracer": [-5, 500]},
}
IN_PARTS = {
    "cycle__iau": {"parts": 2, "over": 6.0},
    "gates": {"bounds": {"Tracer": [0, None]}, "divergence_free": "Velocity"},
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("twin") / "case")


def run(case, folder, resume=False, **changes):
    """Run a cycle in this process; its run folder."""
    run_cycle(read_case(write_settings(folder / "case.yml", case, folder / "run", **changes)), COMM, resume)
    return folder / "run"


def test_restarts_are_what_the_gates_let_through(case, tmp_path):
    file = write_settings(tmp_path / "case.yml", case, tmp_path / "run", 2, gates=GATES, cycle__windows=1)
    said = cycle(file, ranks=2).stdout
    assert re.search(r"gates: .*divergence \S+ → \S+ /s, .*Tracer: \d+ values below bounds", said)
    (entry,) = ledger(tmp_path / "run")
    before, after, told = forecast(tmp_path / "run", 1), analysis(tmp_path / "run", 1), entry["gates"]
    assert set(told) == {"largest", "taper", "divergence", "bounds", "residual"}
    dx = after["Velocity"].values - before["Velocity"].values
    inflow = before["Velocity"].mesh.points[:, 0] == 0.0
    assert np.abs(dx[inflow]).max() == 0.0 and np.linalg.norm(dx, axis=1).max() == pytest.approx(0.5)
    assert told["divergence"]["after"] < 1e-9 * told["divergence"]["before"]
    assert after["Tracer"].values.min() >= 0.0 and told["bounds"]["Tracer"]["below"] > 0
    mass = lumped_mass(after["Tracer"].mesh, "point", COMM)
    assert mass @ after["Tracer"].values == pytest.approx(told["bounds"]["Tracer"]["mass"], rel=1e-12)
    for row in table(tmp_path / "run", 1)[::5]:
        seen = values_at(after, [[float(row[axis]) for axis in "xyz"]], row["variable"])
        assert float(row["residual_of_restart"]) == pytest.approx(float(row["value"]) - seen[0], abs=1e-10)
        assert row["residual_of_restart"] != row["residual"]


def test_a_forecast_out_of_range_is_the_models_failure(case, tmp_path):
    with pytest.raises(
        ModelError, match=r"in its forecast: \d+ values of Tracer are outside 0 to 0.001 \(gates.range\)"
    ):
        run(case, tmp_path, gates={"range": {"Tracer": [0, 1e-3]}})
    assert ledger(tmp_path / "run") == []


def test_an_increment_given_up_leaves_the_forecast(case, tmp_path, capsys):
    gates = {"largest": {"Velocity.x": 1e-6}, "too_large": "refuse"}
    folder = run(case, tmp_path, gates=gates, cycle__windows=1)
    assert re.search(r"increment too large \(Velocity.x 0\.\d+\): given up", capsys.readouterr().out)
    assert_same(analysis(folder, 1), forecast(folder, 1), FIELDS)
    assert all(row["residual_of_restart"] == row["innovation"] != row["residual"] for row in table(folder, 1))


@pytest.fixture(scope="module")
def in_parts(case, tmp_path_factory):
    """Run folder of two windows with increments in parts."""
    return run(case, tmp_path_factory.mktemp("parts"), cycle__windows=2, **IN_PARTS)


def test_each_part_is_a_share_of_the_increment_added_to_where_the_model_is(in_parts):
    assert not (in_parts / "0001/parts").exists() and "iau" not in ledger(in_parts)[0]
    assert ledger(in_parts)[1]["iau"] == IN_PARTS["cycle__iau"]
    given = [read_fields(open_restart(in_parts / f"0002/parts/{k}/start/restart.flml"), COMM) for k in (1, 2)]
    (between,) = (in_parts / "0002/parts/1/forecast").glob("*_checkpoint.flml")
    between = read_fields(open_restart(between), COMM)
    assert between.time == WINDOW + 4.0  # the first step that reaches 3 s
    whole = analysis(in_parts, 1)["Velocity"].values - forecast(in_parts, 1)["Velocity"].values
    for before, after in zip((forecast(in_parts, 1), between), given, strict=True):
        np.testing.assert_allclose(after["Velocity"].values - before["Velocity"].values, whole / 2, atol=1e-13)
        assert (
            after["Tracer"].values.min() >= 0.0 and np.abs(after["Tracer"].values - before["Tracer"].values).max() > 0
        )
        assert_same(after, before, ["Smoke"])
    np.testing.assert_array_equal(first_dump(in_parts, 2)["Velocity"].values, given[1]["Velocity"].values)
    assert forecast(in_parts, 2).time == 2 * WINDOW


def test_a_run_in_parts_goes_on_to_the_same_bits(in_parts, case, tmp_path):
    run(case, tmp_path, cycle__windows=1, **IN_PARTS)
    again = run(case, tmp_path, resume=True, cycle__windows=2, **IN_PARTS)
    assert ledger(again) == ledger(in_parts)
    for number in (1, 2):
        assert_same(analysis(again, number), analysis(in_parts, number), FIELDS)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"cycle__iau": {"parts": 5, "over": 8.0}},
            "5 parts over 8 s are nearer to each other than the model's time step",
        ),
        ({"cycle__iau": {"parts": 2, "over": 9.0}}, "iau gives parts over 9 s, longer than the window of 8 s"),
        (
            {"cycle__iau": {"parts": 2, "over": 8.0}, "observations__window": "nearest"},
            "cycle.iau goes with observations.window: analysis time",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(case, tmp_path, changes, told):
    with pytest.raises(ConfigurationError, match=told):
        run(case, tmp_path, **changes)
