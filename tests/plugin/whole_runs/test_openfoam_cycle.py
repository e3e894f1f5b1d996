"""python -m plugin.cycle around the real OpenFOAM, whole and cut in two: it helps, survives kills, tells failures."""

import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from cycle_case import COMM, ROOT, command, cycle, environment
from openfoam import needs_openfoam
from openfoam_loop import WINDOWS, left_by, make_case, state_of, truth, write_case

from coupling.openfoam.simulation import OPENFOAM
from plugin.case.configuration import ConfigurationError, read_cycle_case
from plugin.cycle import run_cycle
from plugin.run.ledger import read_ledger


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Folder of the twin experiment; its files are not to be changed."""
    needs_openfoam()
    return make_case(tmp_path_factory.mktemp("foam") / "case")


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """{processes of OpenFOAM: run folder} of runs that nothing stopped."""
    runs = {}
    for n in (1, 2):
        folder = tmp_path_factory.mktemp("whole")
        runs[n] = folder / "run"
        cycle(write_case(folder / "case.yml", case, runs[n], n))
    return runs


def error(state, number, case, name):
    """Of a field in all cells, relative to the truth."""
    right = truth(case, number)[name].values
    return np.linalg.norm(state[name].values - right) / np.linalg.norm(right)


def test_analyses_are_nearer_to_the_truth_and_openfoam_goes_on_from_them(case, whole):
    entries = read_ledger(whole[1] / "ledger.jsonl")
    assert [entry["window"] for entry in entries] == [1, 2, 3] and all(entry["used"] == 72 for entry in entries)
    errors = {
        name: [
            [error(state_of(whole[1], entry[key]), entry["window"], case, name) for key in ("forecast", "restart")]
            for entry in entries
        ]
        for name in ("T", "U")
    }
    assert all(analysis < forecast for forecast, analysis in errors["T"])
    assert errors["T"][0][1] < 0.6 * errors["T"][0][0] and errors["U"][0][1] < 0.8 * errors["U"][0][0]
    # OpenFOAM did not forget what it was told
    assert errors["T"][1][0] < 0.6 * errors["T"][0][0] and errors["U"][1][0] < 0.8 * errors["U"][0][0]


def test_two_processes_give_what_one_gives(case, whole):
    """OpenFOAM's own solvers differ by their tolerance; both analyses and all that the loop does agree to that."""
    for one, two in zip(*(read_ledger(whole[n] / "ledger.jsonl") for n in (1, 2)), strict=True):
        assert one["used"] == two["used"]
        alone, cut = (state_of(whole[n], entry["restart"]) for n, entry in ((1, one), (2, two)))
        for name in ("T", "U"):
            places = [state[name].mesh.centroids for state in (alone, cut)]
            order = [np.lexsort(np.round(x, 6).T) for x in places]
            values = [state[name].values[k] for state, k in zip((alone, cut), order, strict=True)]
            np.testing.assert_allclose(values[1], values[0], atol=1e-3 * np.abs(values[0]).max())


def test_ranks_of_the_loop_do_not_matter(case, whole, tmp_path):
    cycle(write_case(tmp_path / "case.yml", case, tmp_path / "run", 2), ranks=2)
    for one, two in zip(*(read_ledger(run / "ledger.jsonl") for run in (whole[2], tmp_path / "run")), strict=True):
        # each rank reads the pieces of the case that it needs; here the test reads both whole
        states = state_of(whole[2], one["restart"]), state_of(tmp_path / "run", two["restart"])
        for name in ("T", "U", "p"):  # measured: 7e-16 of T and U, 7e-15 of p
            scale = np.abs(states[0][name].values).max()
            np.testing.assert_allclose(states[1][name].values, states[0][name].values, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize(("processes", "fault"), [(1, "kill:folder written:4"), (2, "kill:restart written:2:0")])
def test_killed_and_resumed_it_ends_with_the_same_bits(processes, fault, case, whole, tmp_path):
    file, run = write_case(tmp_path / "case.yml", case, tmp_path / "run", processes), tmp_path / "run"
    ended = subprocess.run(
        command(1, "-m", "plugin.cycle", file), cwd=ROOT, env=environment() | {"FLUIDITY_DA_FAULT": fault},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 137 or ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    assert len(read_ledger(run / "ledger.jsonl")) < WINDOWS
    cycle(file, "--resume")
    assert left_by(run) == left_by(whole[processes])


def test_killed_while_openfoam_runs_neither_goes_on(case, whole, tmp_path):
    """The model ends with the loop, and a resumed run is the one that nothing stopped."""
    file, run = write_case(tmp_path / "case.yml", case, tmp_path / "run"), tmp_path / "run"
    (case / "wait").touch()
    job = subprocess.Popen(command(1, "-m", "plugin.cycle", file)[2:], cwd=ROOT, env=environment())
    try:
        began = time.monotonic()
        while not (case / "pid").exists():
            assert job.poll() is None and time.monotonic() - began < 100
            time.sleep(0.1)
        model = int((case / "pid").read_text())
        job.kill()
        job.wait()
    finally:
        job.kill()
        for name in ("wait", "pid"):
            (case / name).unlink(missing_ok=True)
    for _ in range(100):
        if not os.path.exists(f"/proc/{model}"):
            break
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{model}")
    cycle(file, "--resume")
    assert left_by(run) == left_by(whole[1])


def test_a_model_that_fails_is_told_and_the_ledger_keeps_what_was_done(case, whole, tmp_path):
    file, run = write_case(tmp_path / "case.yml", case, tmp_path / "run"), tmp_path / "run"
    (case / "fail").touch()
    try:
        ended = cycle(file, code=3)
    finally:
        (case / "fail").unlink()
    told = ended.stdout + ended.stderr
    assert "Traceback" not in told and "NoSuchScheme" in told and "FOAM FATAL" in told
    assert re.search(r"the model ended with exit code 1\b", told) and "0002/forecast/launch.log" in told
    assert [entry["window"] for entry in read_ledger(run / "ledger.jsonl")] == [1]
    cycle(file, "--resume")
    assert left_by(run) == left_by(whole[1])


def test_an_analysis_at_the_cells_themselves_meets_the_readings_better(case, whole, tmp_path):
    """A cell holds its own value; on the grid it is one of several in the cell, or none."""
    file = write_case(tmp_path / "case.yml", case, tmp_path / "run", grid={"space": "mesh"}, cycle__windows=1)
    run_cycle(read_cycle_case(file), COMM)
    (entry,), (other, *_) = (read_ledger(run / "ledger.jsonl") for run in (tmp_path / "run", whole[1]))
    assert entry["analysis"]["innovation"] == other["analysis"]["innovation"]
    assert entry["analysis"]["residual"]["rms"] < other["analysis"]["residual"]["rms"]
    assert error(state_of(tmp_path / "run", entry["restart"]), 1, case, "T") < 0.2


def test_windows_that_are_not_kept_lose_their_states(case, tmp_path):
    run = tmp_path / "run"
    run_cycle(read_cycle_case(write_case(tmp_path / "case.yml", case, run, cycle__windows=2, cycle__keep=2)), COMM)
    states = [path for path in (run / "0001").rglob("*") if path.name in ("points", "U", "phi")]
    assert all("postProcessing" in path.parts for path in states)
    assert (run / "0001/forecast/launch.log").is_file() and (run / "0001/forecast/system/controlDict").is_file()
    assert OPENFOAM.open_restart(run / read_ledger(run / "ledger.jsonl")[1]["restart"]).time == 4.0


def test_what_does_nothing_or_does_not_fit_is_refused_before_anything_runs(case, tmp_path):
    for changes, told in (
        ({"variables": ["p"]}, "variables: only p would change: OpenFOAM computes pressure"),
        ({"model__processes": 2}, "made for 1 process, the model is to run on 2; have decomposePar cut it"),
        (
            {"gates": {"divergence_free": "U"}},
            "OpenFOAM's patches have names, and its first step takes the divergence",
        ),
    ):
        run = tmp_path / "run"
        with pytest.raises(ConfigurationError, match=told):
            run_cycle(read_cycle_case(write_case(tmp_path / "case.yml", case, run, **changes)), COMM)
        assert not list(run.glob("0*"))
