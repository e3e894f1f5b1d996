"""python -m plugin.cycle on the embedded model's small case: what a cycle does, and how it goes on."""

import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from comparison import assert_same
from cycle_case import (
    COMM,
    ERROR,
    FIELDS,
    IN_A_BUILDING,
    NOT_SENSORS,
    ROOT,
    SENSORS,
    WINDOW,
    WINDOWS,
    analysis,
    command,
    cycle,
    environment,
    files,
    first_dump,
    forecast,
    ledger,
    make_case,
    own_model,
    table,
    values_at,
    write_case,
    write_readings,
    write_settings,
)
from petsc4py import PETSc

from coupling.fluidity.checkpoint import open_restart
from coupling.vtk.vtu import read_state
from plugin.cycle import main
from plugin.run.job import run_job
from plugin.run.ledger import read_ledger

OUTSIDE = [  # by window: none of its time, only where there is no air, one in the air and one a step too late
    (2.5 * WINDOW, 20.0, 40.0, 5.0, "Tracer", 1.0, 0.1),
    (2 * WINDOW, *IN_A_BUILDING, "Tracer", 1.0, 0.1),
    (2 * WINDOW, 500.0, 40.0, 5.0, "Velocity.x", 1.0, 0.1),
    (3 * WINDOW, *IN_A_BUILDING, "Tracer", 1.0, 0.1),
    (3 * WINDOW, 20.0, 40.0, 5.0, "Velocity.x", 1.0, 0.1),
    (3 * WINDOW + 1.5, 20.0, 40.0, 5.0, "Velocity.x", 1.0, 0.1),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Folder of the twin experiment; its files are not to be changed."""
    return make_case(tmp_path_factory.mktemp("twin") / "case")


class Run:
    """A run of the cycle: its folder, its case file and what it said."""

    def __init__(self, case, folder, processes=1, ranks=1, **changes):
        self.folder, self.file = (
            folder / "run",
            write_settings(folder / "case.yml", case, folder / "run", processes, **changes),
        )
        self.said = cycle(self.file, ranks=ranks).stdout


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """All windows at once, on one rank."""
    return Run(case, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def unseen(case, tmp_path_factory):
    """A cycle whose readings are those of OUTSIDE."""
    folder = tmp_path_factory.mktemp("unseen")
    readings = write_readings(folder / "readings.csv", OUTSIDE)
    return Run(case, folder, observations__file=str(readings))


@pytest.fixture(scope="module")
def parallel(case, tmp_path_factory):
    """{ranks: a cycle on so many ranks}, the model on two processes."""
    windows = {1: 2, 2: 3, 3: 2}
    return {n: Run(case, tmp_path_factory.mktemp(f"on{n}"), 2, n, cycle__windows=windows[n]) for n in windows}


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


# What a cycle does


def test_analyses_go_to_the_readings(whole):
    for entry in ledger(whole.folder):
        assert entry["analysis"]["residual"]["rms"] < 0.6 * entry["analysis"]["innovation"]["rms"]
        assert entry["analysis"]["cost"] < 0.5 * entry["analysis"]["cost_initial"]


def test_where_no_sensor_is_analyses_are_nearer_to_the_truth_than_the_free_run(case, whole, unseen):
    """Until its last analysis a cycle without readings is the free run."""
    for number in range(1, WINDOWS + 1):
        truth = read_state(case / f"truth/case_{2 * number}.vtu", COMM)
        for variable in ERROR:
            true = values_at(truth, NOT_SENSORS, variable)
            free = rms(values_at(forecast(unseen.folder, number), NOT_SENSORS, variable) - true)
            analysed = rms(values_at(analysis(whole.folder, number), NOT_SENSORS, variable) - true)
            assert analysed < 0.8 * free, (number, variable)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_next_forecast_starts_from_the_analysis(whole, parallel, processes):
    run = whole.folder if processes == 1 else parallel[2].folder
    for number in range(1, WINDOWS):
        before, after = forecast(run, number), analysis(run, number)
        began = first_dump(run, number + 1)
        assert began["Tracer"].mesh.n_pieces == processes and began["Tracer"].mesh.ghost.any() == (processes > 1)
        assert_same(began, after, FIELDS)
        assert began.time == number * WINDOW
        assert_same(after, before, ["Smoke"])
        for name in ("Tracer", "Velocity"):
            assert (after[name].values != before[name].values).any()


def test_copies_of_a_node_in_several_pieces_agree(parallel):
    for field in analysis(parallel[2].folder, 1).fields.values():
        _, number, copies = np.unique(field.mesh.points, axis=0, return_inverse=True, return_counts=True)
        assert copies.max() > 1
        of_first = np.empty((len(copies), field.components))
        of_first[number.ravel()] = field.values.reshape(-1, field.components)
        np.testing.assert_allclose(
            field.values.reshape(-1, field.components), of_first[number.ravel()], rtol=1e-13, atol=1e-14
        )


@pytest.mark.parametrize("ranks", [1, 3])
def test_any_number_of_ranks_gives_the_same_analyses(parallel, ranks):
    for number in (1, 2):
        one, other = analysis(parallel[2].folder, number), analysis(parallel[ranks].folder, number)
        for name in ("Tracer", "Velocity"):
            difference = np.abs(other[name].values - one[name].values).max()
            assert difference <= 1e-10 * np.abs(one[name].values).max(), (number, name)


def test_on_the_meshs_own_nodes_the_analysis_is_closer_to_the_readings_and_the_same_on_two_ranks(case, tmp_path):
    runs = [Run(case, tmp_path / str(n), ranks=n, grid={"space": "mesh"}, cycle__windows=1) for n in (1, 2)]
    one, two = (analysis(run.folder, 1) for run in runs)
    for name in ("Tracer", "Velocity"):
        assert np.abs(two[name].values - one[name].values).max() <= 1e-10 * np.abs(one[name].values).max(), name
    told = ledger(runs[0].folder)[0]["analysis"]
    assert told["residual"]["rms"] < 0.5 * told["innovation"]["rms"]


def test_on_the_meshs_own_nodes_states_of_another_mesh_are_refused(case, tmp_path):
    changes = {"grid": {"space": "mesh"}, "cycle__windows": 1, "processes": 2}
    file = write_settings(tmp_path / "case.yml", case, tmp_path / "run", **changes)
    assert "share one mesh" in cycle(file, code=2).stderr


def test_the_ledger_tells_what_each_window_did(whole):
    lines = (whole.folder / "ledger.jsonl").read_text().splitlines()
    entries = [json.loads(line)["entry"] for line in lines]
    assert entries == read_ledger(whole.folder / "ledger.jsonl")
    assert [(e["window"], e["time"]) for e in entries] == [(k, k * WINDOW) for k in range(1, WINDOWS + 1)]
    for entry in entries:
        assert entry["used"] == entry["readings"] == len(SENSORS) * len(ERROR)
        assert open_restart(whole.folder / entry["restart"]).time == entry["time"]
        assert open_restart(whole.folder / entry["forecast"]).time == entry["time"]
        assert set(entry["seconds"]) == {"forecast", "analysis", "restart"}
        assert 0 < entry["model_seconds"] <= entry["seconds"]["forecast"]
        assert entry["analysis"]["iterations"] > 0 and "CONVERGED" in entry["analysis"]["reason"]


def test_the_table_is_of_forecast_and_analysis_and_agrees_with_the_ledger(whole):
    for entry in ledger(whole.folder):
        rows = table(whole.folder, entry["window"])
        states = {
            "innovation": forecast(whole.folder, entry["window"]),
            "residual": analysis(whole.folder, entry["window"]),
        }
        assert len(rows) == entry["readings"] and {row["used"] for row in rows} == {"yes"}
        for column, state in states.items():
            told = entry["analysis"][column]
            assert told["count"] == len(rows)
            assert rms([float(row[column]) for row in rows]) == pytest.approx(told["rms"], rel=1e-12)
            for variable in ERROR:
                of = [row for row in rows if row["variable"] == variable]
                places = np.array([[float(row[c]) for c in "xyz"] for row in of])
                departures = np.array([float(row["value"]) for row in of]) - values_at(state, places, variable)
                np.testing.assert_allclose([float(row[column]) for row in of], departures, rtol=0, atol=1e-12)


def test_without_a_reading_in_the_air_the_forecast_goes_on_as_it_is(unseen):
    entries = ledger(unseen.folder)
    assert [(e["readings"], e["used"], "analysis" in e) for e in entries] == [
        (0, 0, False),
        (2, 0, False),
        (2, 1, True),
    ]
    for number, why in ((1, "no readings of this time"), (2, "no reading inside the model's air")):
        (line,) = [line for line in unseen.said.splitlines() if line.startswith(f"window {number} of 3")]
        assert f"{why}, the forecast goes on as it is" in line
        assert_same(analysis(unseen.folder, number), forecast(unseen.folder, number), FIELDS)
        assert_same(first_dump(unseen.folder, number + 1), forecast(unseen.folder, number), FIELDS)


def test_the_table_says_why_a_reading_was_left_out(unseen):
    found = [
        [
            (row["variable"], row["used"], row["innovation"] != "", row["residual"] != "")
            for row in table(unseen.folder, k)
        ]
        for k in (1, 2, 3)
    ]
    outside = "no: outside the model's air"
    assert found[0] == []
    assert found[1] == [("Tracer", outside, False, False), ("Velocity.x", outside, False, False)]
    assert found[2] == [("Tracer", outside, False, False), ("Velocity.x", "yes", True, True)]


def test_where_no_terminal_is_it_speaks_in_plain_lines(whole, parallel):
    for run, windows in ((whole, 3), (parallel[2], 3), (parallel[3], 2)):
        lines = run.said.splitlines()
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", run.said)
        assert [line[:13] for line in lines if line.startswith("window")] == [
            f"window {k} of {windows}" for k in range(1, windows + 1)
        ]
        assert sum(line.startswith("background errors: 16 modes (tsvd) of 27 states") for line in lines) == 1
        assert lines[-1] == f"{windows} windows done; ledger: {run.folder}/ledger.jsonl"


# How it goes on


def test_a_killed_cycle_goes_on_and_so_does_one_that_is_to_be_longer(case, whole, tmp_path):
    model, run = own_model(tmp_path), tmp_path / "run"
    (tmp_path / "wait").touch()
    file = write_settings(tmp_path / "case.yml", case, run, cycle__windows=2, **model)
    with subprocess.Popen(
        command(1, "-m", "plugin.cycle", file), env=environment(), cwd=ROOT, start_new_session=True
    ) as killed:
        while not (tmp_path / "pid").is_file() and killed.poll() is None:
            time.sleep(0.05)
        assert killed.poll() is None
        os.killpg(killed.pid, signal.SIGKILL)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert len(read_ledger(run / "ledger.jsonl")) == 1 and (run / "0002/forecast").is_dir()
    with open(run / "ledger.jsonl", "a") as cut_off:
        cut_off.write('{"checksum": "12')
    first = files(run / "0001")
    (tmp_path / "wait").unlink()

    said = cycle(file, "--resume").stdout
    assert "window 1 of 2" not in said and "window 2 of 2" in said
    finished = {**first, **files(run / "0002")}
    said = cycle(write_settings(file, case, run, cycle__windows=3, **model), "--resume").stdout
    assert "window 2 of 3" not in said and "window 3 of 3" in said
    assert files(run / "0001") == first and {**files(run / "0001"), **files(run / "0002")} == finished

    assert ledger(run) == ledger(whole.folder)
    for number in (1, 2, 3):
        assert_same(forecast(run, number), forecast(whole.folder, number), FIELDS)
        assert_same(analysis(run, number), analysis(whole.folder, number), FIELDS)
    assert sorted(p.name for p in run.iterdir()) == ["0001", "0002", "0003", "cache", "case.json", "ledger.jsonl"]


def test_a_failing_model_is_told_once_and_its_window_is_not_done(case, tmp_path):
    model, run = own_model(tmp_path), tmp_path / "run"
    (tmp_path / "fail").touch()
    file = write_settings(tmp_path / "case.yml", case, run, cycle__windows=2, **model)
    told = cycle(file, ranks=2, code=3).stderr
    assert told.count("error: the model ended with exit code 7") == told.count("the last line") == 1
    assert f"end of {run}/0002/forecast/launch.log" in told and "line 17\n" in told and "line 16\n" not in told
    assert "Traceback" not in told
    assert [entry["window"] for entry in read_ledger(run / "ledger.jsonl")] == [1]
    first = files(run / "0001")

    (tmp_path / "fail").unlink()
    write_settings(file, case, run, cycle__windows=2, **{**model, "model__timeout": 50})  # more time may be given
    assert ended(file, "--resume") == 0
    assert files(run / "0001") == first and [entry["window"] for entry in ledger(run)] == [1, 2]
    assert_same(first_dump(run, 2), analysis(run, 1), FIELDS)


def ended(*words):
    """Exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as end:
        run_job(lambda: main([str(word) for word in words], COMM), COMM)
    return end.value.code


def told(capsys):
    """What the command said on stderr, which is all of one message."""
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.count("error: ") == 1 and "Traceback" not in text
    return text


def test_a_run_that_does_not_fit_is_not_touched(case, whole, tmp_path, capsys):
    before = files(whole.folder)
    assert ended(whole.file) == 2
    assert f"{whole.folder}: holds a run already; go on with it by --resume" in told(capsys)
    other = write_settings(tmp_path / "other.yml", case, whole.folder, grid__spacing=9.0)
    assert ended(other, "--resume") == 2
    assert f"{whole.folder}/case.json: the run was started with another 'grid' section" in told(capsys)
    nowhere = write_settings(tmp_path / "new.yml", case, tmp_path / "run")
    assert ended(nowhere, "--resume") == 2
    assert f"{tmp_path}/run: no run to resume" in told(capsys)
    assert files(whole.folder) == before and not (tmp_path / "run").exists()


# What it refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cycle__wndows": 3}, r"case.yml, line 9: cycle.wndows: unknown key; did you mean 'windows'\?"),
        ({"model__start": "none.flml"}, r"none.flml: cannot be read"),
        ({"observations__file": "none.csv"}, r"none.csv: cannot be read"),
        ({"background__snapshots": [{"path": "none"}]}, r"none: no such file, folder or dumps"),
        ({"variables": ["Tracer", "Velocity", "Salt"]}, r"no array 'Salt'; it has \[.*'Tracer'"),
        (
            {"variables": ["Pressure"]},
            r"readings.csv: none of its \d+ readings is of what is analysed; it has Tracer .*are \['Pressure'\]",
        ),
        ({"background__truncation": 40}, r"background: truncation τ = 40, expected 1 to 26"),
    ],
)
def test_bad_input_is_named_before_a_model_runs(case, tmp_path, capsys, changes, message):
    file = write_settings(tmp_path / "case.yml", case, tmp_path / "run", **changes)
    assert ended(file) == 2
    assert re.search(message, told(capsys))
    # once it is put right, it need not be resumed
    assert [p.name for p in tmp_path.glob("run/*") if p.name != "cache"] == []


def test_a_model_that_refuses_its_options_is_told_with_its_log(case, tmp_path, capsys):
    options = write_case(tmp_path / "start")
    options.write_text(options.read_text().replace("<physical_parameters/>", "<no_such_option/>"))
    file = write_settings(tmp_path / "case.yml", case, tmp_path / "run", model__start=str(options))
    assert ended(file) == 3
    text = told(capsys)
    assert "error: the model ended with exit code 16" in text and "no_such_option" in text.splitlines()[-1]
    assert read_ledger(tmp_path / "run/ledger.jsonl") == []
    # no window is done: the case may be changed
    good = write_settings(file, case, tmp_path / "run", cycle__windows=1)
    assert ended(good) == 2 and "holds a run already" in told(capsys)
    assert ended(good, "--resume") == 0
    assert json.loads((tmp_path / "run/case.json").read_text())["model"]["start"] == str(case / "start-1/case.flml")


def test_a_model_that_takes_too_long_is_stopped(case, tmp_path, capsys):
    slow = {
        "model__driver": "fluidity",
        "model__program": ["bash", "-c", "echo busy; sleep 600"],
        "model__timeout": 0.5,
    }
    assert ended(write_settings(tmp_path / "case.yml", case, tmp_path / "run", **slow)) == 3
    text = told(capsys)
    assert "error: the model was stopped after" in text and text.splitlines()[-1].strip() == "busy"
    assert read_ledger(tmp_path / "run/ledger.jsonl") == []


def test_a_minimiser_that_fails_is_told(case, tmp_path, capsys):
    # Huber's cost has no Hessian whose factor could spare the search
    file = write_settings(tmp_path / "case.yml", case, tmp_path / "run", observations__huber=1.0)
    options = PETSc.Options()
    options["da_tao_max_it"] = 1  # as a user would by PETSC_OPTIONS; some versions refuse none
    try:
        assert ended(file) == 4
    finally:
        options.delValue("da_tao_max_it")
    assert "DIVERGED_MAXITS" in told(capsys)
    assert read_ledger(tmp_path / "run/ledger.jsonl") == []


def test_without_a_case_file_it_says_so(capsys):
    assert ended() == 2
    assert "no case file is named" in told(capsys)


def test_the_schema_tells_every_section_and_key():
    schema = json.loads(cycle("--schema", ranks=2).stdout)
    assert set(schema["properties"]) == {
        "model",
        "cycle",
        "reanalysis",
        "experiment",
        "network",
        "grid",
        "variables",
        "background",
        "observations",
        "analysis",
        "ensemble",
        "parameters",
        "estimate",
        "minimiser",
        "gates",
        "diagnostics",
        "report",
        "run",
        "watchdog",
    }
    sections = schema["$defs"]
    assert len(sections) == 62 and "from" in sections["SeriesSection"]["properties"]
    for section in sections.values():
        assert section["description"]
        # a section within another tells its own
        told = {key for key, value in section["properties"].items() if value.get("description") or "$ref" in value}
        assert told == set(section["properties"])
