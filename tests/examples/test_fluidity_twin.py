"""The twin experiment on a run of one's own, with the embedded model in the place of Fluidity."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from cycle_case import COMM, TRAINING, WINDOW, ledger, write_case
from places import ROOT

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.fluidity.driver import embedded_model
from examples.fluidity.twin import HERE, main
from plugin.case.configuration import read_case

SEEDS = "3", "4"


@pytest.fixture(scope="module")
def run_before(tmp_path_factory):
    """A run of the model: its last checkpoint, an earlier dump, and its dumps as snapshots."""
    folder = tmp_path_factory.mktemp("before")
    start = open_restart(write_case(folder / "case", **TRAINING[0]))
    ended = embedded_model(timeout=60).run(start, 5 * WINDOW, folder / "run", COMM)
    return ended.restart.options, folder / "run/case_3.vtu", folder / "run"


@pytest.fixture
def fluidity(tmp_path, monkeypatch):
    program = tmp_path / "bin/fluidity"
    program.parent.mkdir()
    program.write_text(f'#!/bin/bash\nPYTHONPATH={ROOT} exec {sys.executable} -m coupling.embedded "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def case_file(path):
    settings = yaml.safe_load((HERE / "twin.yml").read_text())
    settings["cycle"] = {"window": WINDOW, "windows": 2}
    settings["grid"] = {"spacing": 8.0}
    settings["background"].update(snapshots=[{"from": 8}], truncation=6)
    path.write_text(yaml.safe_dump(settings))
    return path


def numbers_of(table, row):
    (found,) = re.findall(rf"^\| {row} \| (.*) \|$", table, re.MULTILINE)
    return [float(cell) for cell in found.split(" | ")]


def test_each_network_has_its_table_and_nothing_is_made_twice(run_before, fluidity, tmp_path, capsys):
    words = [*map(str, run_before), str(tmp_path / "twin"), "--case", str(case_file(tmp_path / "case.yml"))]
    main([*words, "--seeds", SEEDS[0]])
    first = capsys.readouterr().out
    assert len(numbers_of(first, "warm, Tracer, free run")) == 2
    for start in ("warm", "cold"):
        for field in ("Tracer", "Velocity"):
            free, forecast = (numbers_of(first, f"{start}, {field}, {kind}") for kind in ("free run", "forecast"))
            assert free[0] == pytest.approx(forecast[0], abs=2e-3)  # no analysis has been before the first window's end
    assert numbers_of(first, "cold, Tracer, analysis")[0] < numbers_of(first, "cold, Tracer, forecast")[0]
    truth, run = tmp_path / "twin/truth/truth_0.vtu", tmp_path / "twin/warm-3"
    made = truth.stat().st_mtime_ns, len(ledger(run))
    assert made[1] == 2
    main([*words, "--seeds", *SEEDS, "--starts", "warm"])
    both = capsys.readouterr().out
    assert (truth.stat().st_mtime_ns, len(ledger(run))) == made
    assert both.count("| network ") == 2 and numbers_of(both.split("| network 4")[0], "warm, Tracer, analysis")
    assert (tmp_path / "twin/table.md").read_text() == both.rstrip("\n") + "\n"
    readings = [(tmp_path / f"twin/readings-{seed}.csv").read_text() for seed in SEEDS]
    assert readings[0] != readings[1] and readings[0].count("Tracer") == 2 * 34


def test_warm_and_cold_begin_as_they_say(run_before, fluidity, tmp_path):
    main([*map(str, run_before), str(tmp_path), "--case", str(case_file(tmp_path / "case.yml"))])
    warm, cold = (read_fields(open_restart(tmp_path / name / "start/restart.flml"), COMM) for name in ("warm", "cold"))
    assert not cold["Tracer"].values.any() and not cold["Velocity"].values.any()
    assert warm["Tracer"].values.any() and warm.time == cold.time == 5 * WINDOW
    case = read_case(tmp_path / "warm-1.yml")
    assert Path(case.model.environment["PYTHONPATH"]) == run_before[0].parent


def test_without_fluidity_it_says_so(run_before, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="fluidity is not on PATH"):
        main([*map(str, run_before), str(tmp_path / "twin")])
