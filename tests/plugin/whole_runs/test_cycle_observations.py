"""Whole cycles whose readings are treated in other ways than the usual: windows, checks, biases, speeds."""

import csv

import numpy as np
import pytest
from cycle_case import ERROR, IN_A_BUILDING, SENSORS, WINDOW, cycle, make_case, values_at, write_settings
from mpi4py import MPI

from coupling.vtk.vtu import read_state
from plugin.case.configuration import read_case
from plugin.cycle import run_cycle
from plugin.run.ledger import read_ledger

COMM = MPI.COMM_SELF
HALF = WINDOW / 2
OFFSET = 0.5  # of one station's tracer


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("twin") / "case")


def _rows(case, times, offset=0.0):
    """Readings of the truth's dumps, a station for each sensor; the tracer of station 3 is wrong by an offset."""
    rows = []
    for time in times:
        state = read_state(case / f"truth/case_{round(time / HALF)}.vtu", COMM)
        for variable in ERROR:
            for k, (place, value) in enumerate(zip(SENSORS, values_at(state, SENSORS, variable), strict=True)):
                wrong = offset * (k == 3 and variable == "Tracer")
                rows.append([time, *place, variable, value + wrong, ERROR[variable], k])
        wind = np.column_stack([values_at(state, SENSORS[:4], f"Velocity.{c}") for c in "xyz"])
        for place, value in zip(SENSORS[:4] + [3.0, 3.0, 0.0], np.linalg.norm(wind, axis=1), strict=True):
            rows.append([time, *place, "Velocity.speed", value, 0.3, "cup"])
    return rows


def _settings(case, folder, rows, **observations):
    folder.mkdir(exist_ok=True)
    with open(folder / "readings.csv", "w", newline="") as file:
        header = ("time", "x", "y", "z", "variable", "value", "error", "station")
        csv.writer(file).writerows([header, *rows])
    windows = observations.pop("windows", 2)
    given = {"file": str(folder / "readings.csv"), **observations}
    return write_settings(folder / "case.yml", case, folder / "run", observations=given, cycle__windows=windows)


def _run(case, folder, rows, resume=False, **observations):
    run_cycle(read_case(_settings(case, folder, rows, **observations)), COMM, resume)
    return folder / "run"


def _table(run, number):
    with open(run / f"{number:04d}" / "readings.csv", newline="") as file:
        return list(csv.DictReader(file))


def _assert_same_table(run, other, number):
    for one, two in zip(_table(run, number), _table(other, number), strict=True):
        assert [one[c] for c in ("variable", "station", "used")] == [two[c] for c in ("variable", "station", "used")]
        for name in ("innovation", "residual"):
            assert (one[name] == "") == (two[name] == "")
            assert float(two[name] or 0.0) == pytest.approx(float(one[name] or 0.0), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("mode", ["nearest", "interpolate"])
def test_readings_of_a_window_are_compared_at_their_own_times(case, tmp_path, mode):
    times = [HALF, 2 * HALF, 3 * HALF, 4 * HALF]
    rows = [row for row in _rows(case, times) if row[4] != "Velocity.speed"]
    rows.append([2.5 * HALF, *SENSORS[0], "Tracer", 0.0, 1.0, "late"])
    run = _run(case, tmp_path / "a", rows, window=mode)
    dumps = {t: read_state(run / f"0002/forecast/case_{round(t / HALF) - 2}.vtu", COMM) for t in times[1:]}
    for t, state in dumps.items():
        assert state.time == pytest.approx(t)
    assert {float(row["time"]) for row in _table(run, 1)} == {HALF, 2 * HALF}
    table = _table(run, 2)
    assert {float(row["time"]) for row in table} == {2.5 * HALF, 3 * HALF, 4 * HALF}
    for variable in ERROR:
        of = [row for row in table if row["variable"] == variable and float(row["time"]) == 3 * HALF]
        told = [float(row["value"]) - float(row["innovation"]) for row in of]
        np.testing.assert_allclose(told, values_at(dumps[3 * HALF], SENSORS, variable), atol=1e-6)
    (between,) = [row for row in table if float(row["time"]) == 2.5 * HALF]
    seen = [values_at(dumps[t], SENSORS[:1], "Tracer")[0] for t in (2 * HALF, 3 * HALF)]
    expected = np.mean(seen) if mode == "interpolate" else seen[1]
    assert -float(between["innovation"]) == pytest.approx(expected, abs=1e-6)
    if mode == "interpolate":
        cycle(_settings(case, tmp_path / "b", rows, window=mode), ranks=2)
        _assert_same_table(run, tmp_path / "b/run", 2)


def test_checks_speeds_and_biases_over_windows(case, tmp_path):
    times = [2 * HALF, 4 * HALF]
    rows = _rows(case, times, OFFSET)
    rows += [[t, *SENSORS[5], "Tracer", 0.123, 0.2, "dead"] for t in (1.0, 2.0, *times)]
    rows += [[t, *SENSORS[6], "Tracer", 999.0, 0.2, "mad"] for t in times]
    rows += [[t, *IN_A_BUILDING, "Tracer", 0.0, 0.2, "walled"] for t in times]
    rows += [row[:6] + [9.0] + row[7:] for row in rows[:2]]
    treated = {
        "quality": {
            "range": {"Tracer": [-100.0, 100.0]},
            "stuck": {"readings": 3},
            "duplicates": {},
            "background": 6.0,
        },
        "bias": {"std": {"Tracer": OFFSET}},
    }
    run = _run(case, tmp_path / "a", rows, **treated)
    for number in (1, 2):
        why = {row["used"] for row in _table(run, number)}
        expected = {"yes", "no: out of range", "no: stuck sensor", "no: outside the model's air"}
        assert expected | ({"no: duplicate"} if number == 1 else set()) <= why
    entries = read_ledger(run / "ledger.jsonl")
    assert entries[0]["left_out"]["duplicate"] == 2 and entries[0]["analysis"]["reason"] == "CONVERGED_OUTER_LOOPS"
    # a station takes what the modes cannot explain as well: the offset is what its bias differs by without it
    right = _run(case, tmp_path / "c", _rows(case, times) + rows[len(_rows(case, times)) :], **treated)
    without = read_ledger(right / "ledger.jsonl")[1]["biases"]
    moved = {name: b - without[name] for name, b in entries[1]["biases"].items()}
    assert 0.5 * OFFSET < moved.pop("3 Tracer") < 1.1 * OFFSET
    assert np.median(np.abs(list(moved.values()))) < 0.1 * OFFSET

    cycle(_settings(case, tmp_path / "d", rows, **treated), ranks=2)
    for number in (1, 2):
        _assert_same_table(run, tmp_path / "d/run", number)

    # the biases of a finished window are those a resumed run begins with
    _run(case, tmp_path / "b", rows, windows=1, **treated)
    resumed = _run(case, tmp_path / "b", rows, resume=True, **{**treated, "windows": 2})
    assert read_ledger(resumed / "ledger.jsonl")[1]["biases"] == entries[1]["biases"]


def test_a_window_whose_readings_are_all_left_out_says_why(case, tmp_path, capsys):
    run = _run(case, tmp_path / "a", _rows(case, [2 * HALF]), windows=1, quality={"background": 1e-9})
    assert "no reading is used (76 too far from the background)" in capsys.readouterr().out
    (entry,) = read_ledger(run / "ledger.jsonl")
    assert entry["used"] == 0 and "analysis" not in entry
