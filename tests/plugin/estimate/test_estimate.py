"""Parameters of a whole period: twins whose truth is known, kills, failures, ranks, and what is refused."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from crash_case import KILLED, _in_a_child
from cycle_case import COMM, environment, python
from estimate_case import PRIORS, STD, TRUTH, left_by, make_case, settings, table, write_settings
from mpi_words import mpirun_words
from places import ROOT
from small_problem import relative_difference

from coupling.simulation.launch import ModelError
from da.ensemble.prior import LogNormal, Normal, Uniform
from plugin.case.configuration import ConfigurationError, read_cycle_case
from plugin.estimate import __main__ as command
from plugin.estimate.iterations import run_estimate
from plugin.estimate.picture import density
from plugin.run.ledger import read_ledger


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("estimate"))


@pytest.fixture(scope="module")
def estimated(case, tmp_path_factory):
    """The run folder of a whole estimate with the fast model."""
    run = tmp_path_factory.mktemp("whole") / "run"
    path = write_settings(run.parent / "case.yml", case, run, members=16, estimate={"rerun": True, "fall": 1.5})
    run_estimate(read_cycle_case(path), COMM)
    return run


def known(run):
    """{name: (mean, std)} after the last iteration."""
    rows = table(run / "estimate/parameters.csv")
    return {
        row["name"]: (float(row["mean"]), float(row["std"]))
        for row in rows
        if row["iteration"] == rows[-1]["iteration"]
    }


def test_the_truth_is_met_within_the_posterior_and_readings_within_their_errors(estimated):
    for name, (mean, std) in known(estimated).items():
        assert abs(mean - TRUTH[name]) < 3.0 * std, name
        assert std < 0.2 * STD[name], name
    entries = read_ledger(estimated / "estimate/ledger.jsonl")
    chi_squared = [entry["chi_squared"] for entry in entries]
    assert len(entries) == 5 and entries[-1]["factor"] is None
    assert chi_squared[0] > 20.0 and chi_squared[0] > chi_squared[1] > chi_squared[2]
    assert 0.8 < chi_squared[-1] < 1.25
    assert sum(1.0 / entry["factor"] for entry in entries[:-1]) == pytest.approx(1.0)
    assert entries[-1]["parameters"] == entries[-2]["parameters"]


def test_tables_and_picture_are_there_and_only_the_last_runs(estimated):
    folder = estimated / "estimate"
    rows = table(folder / "parameters.csv")
    assert [row["name"] for row in rows] == list(TRUTH) * 6
    first = {row["name"]: float(row["std"]) for row in rows[:3]}
    assert all(first[name] == pytest.approx(STD[name], rel=0.2) for name in TRUTH)
    members = table(folder / "posterior.csv")
    assert [row["member"] for row in members] == [str(k + 1) for k in range(16)]
    mean = np.mean([float(row["source_y"]) for row in members])
    assert mean == pytest.approx(known(estimated)["source_y"][0], rel=1e-12)
    assert (folder / "posterior.png").read_bytes().startswith(b"\x89PNG")
    readings = table(folder / "0001/readings.csv")
    assert {row["used"] for row in readings} == {"yes"} and float(readings[-1]["spread"]) > 0.0
    kept = {path.parent.parent.parent.parent.name for path in folder.rglob("*.vtu") if path.parent.name == "forecast"}
    assert kept == {"0005"}


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """What an undisturbed estimate leaves."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    path = write_settings(run.parent / "case.yml", case, run, members=5, estimate={"iterations": 2})
    run_estimate(read_cycle_case(path), COMM)
    return run


def test_killed_at_each_of_its_moments_it_ends_with_the_same_bits(case, whole, tmp_path):
    run = tmp_path / "run"
    path = write_settings(tmp_path / "case.yml", case, run, members=5, estimate={"iterations": 2})
    words = [str(path)]
    moments = (
        "iteration begun:1", "folder written:3", "members run:1", "table written:1", "entry written:1",
        "file written:2", "members run:1", "iteration recorded:1"
    )  # fmt: skip
    for moment in moments:
        ended = _in_a_child(partial(command.main, words, COMM), fault=f"kill:{moment}")
        assert ended.code == KILLED, (moment, ended)
        words = [str(path), "--resume"] if (run / "estimate/case.json").exists() else words
    ended = _in_a_child(lambda: command.main([str(path), "--resume"], COMM))
    assert ended.code == 0, ended
    assert left_by(run) == left_by(whole)


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_on_several_ranks(case, whole, tmp_path, ranks):
    path = write_settings(tmp_path / "case.yml", case, tmp_path / "run", members=5, estimate={"iterations": 2})
    words = [*mpirun_words(ranks), sys.executable, "-m", "plugin.estimate", str(path)]
    given = {**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/support'}"}
    ended = subprocess.run(["timeout", "280", *words], env=given, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    values = [
        np.array(read_ledger(run / "estimate/ledger.jsonl")[-1]["parameters"]) for run in (tmp_path / "run", whole)
    ]
    assert relative_difference(*values) < 1e-10


def with_limit(case, folder, failures):
    """The estimate's case with a model that cannot bear much strength."""
    given = settings(case, folder / "run")
    model = {**given["model"], "environment": {"LIMIT": "1.45"}}
    ensemble = {**given["ensemble"], "failures": failures}
    return read_cycle_case(
        write_settings(
            folder / "case.yml", case, folder / "run", model=model, ensemble=ensemble, estimate={"iterations": 1}
        )
    )


def test_members_that_fail_are_replaced_as_often_as_the_case_allows(case, tmp_path):
    run_estimate(with_limit(case, tmp_path / "some", 4), COMM)
    (entry,) = read_ledger(tmp_path / "some/run/estimate/ledger.jsonl")
    assert 0 < len(entry["failed"]) == entry["replaced"] <= 4
    assert all("is too much" in problem for problem in entry["failed"].values())
    assert np.isfinite(entry["parameters"]).all() and np.shape(entry["parameters"]) == (3, 12)
    with pytest.raises(ModelError, match=r"1 member failed; ensemble\.failures allows 0 over the run"):
        run_estimate(with_limit(case, tmp_path / "none", 0), COMM)
    assert not (tmp_path / "none/run/estimate/ledger.jsonl").exists()


def test_it_goes_on_with_the_same_settings_only(case, whole, tmp_path):
    changed = write_settings(tmp_path / "case.yml", case, whole, members=5, estimate={"iterations": 3})
    with pytest.raises(ConfigurationError, match="resume with the same settings"):
        run_estimate(read_cycle_case(changed), COMM, resume=True)
    with pytest.raises(ConfigurationError, match="holds a run already; go on with it by --resume"):
        run_estimate(read_cycle_case(changed), COMM)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimate": {"place": ["speed", "source_x"]}}, "estimate.place: 'source_x' is no parameter; there are speed"),
        ({"estimate": {"iterations": 0}}, "estimate.iterations"),
        ({"parameters": {}, "ensemble": {"members": 5}}, "parameters: this section is missing"),
    ],
)
def test_what_does_not_fit_is_refused(case, tmp_path, changes, message):
    path = write_settings(tmp_path / "case.yml", case, tmp_path / "run", **changes)
    with pytest.raises(ConfigurationError, match=message):
        run_estimate(read_cycle_case(path), COMM)


@pytest.mark.parametrize("prior", [Normal(2.0, 0.5), LogNormal(0.8, 0.3), Uniform(20.0, 60.0)])
def test_densities_of_the_picture_are_those_of_the_priors(prior):
    x, of = density(prior, 0.0, 1.0, n=20001)
    total = np.sum(0.5 * (of[1:] + of[:-1]) * np.diff(x))
    assert total == pytest.approx(1.0, abs=1e-3)
    if isinstance(prior, Uniform):
        np.testing.assert_allclose(of[1:-1], 1.0 / 40.0, rtol=1e-3)


def test_the_command_with_a_model_of_its_own_process(case, tmp_path):
    """The embedded model reads parameters.json; one update moves the wind and the source towards the truth."""
    path = write_settings(
        tmp_path / "case.yml", case, tmp_path / "run", "embedded", members=4,
        estimate={"iterations": 1, "place": ["speed", "source_y"]},
    )  # fmt: skip
    ended = python(1, "-m", "plugin.estimate", path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "iteration 1 of 1: " in ended.stdout and "1 iterations done" in ended.stdout
    for name, (mean, std) in known(tmp_path / "run").items():
        before = {"speed": 0.8, "source_y": 40.0, "strength": 1.0}[name]
        assert abs(mean - TRUTH[name]) < abs(before - TRUTH[name]), name
        assert std < STD[name]
    assert set(PRIORS) == set(known(tmp_path / "run"))
