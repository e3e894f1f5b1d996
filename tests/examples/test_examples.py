"""The examples, as a user starts them. examples/street, which takes minutes, is `make demo`."""

import csv
import os
import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The examples beside the packages in a folder of their own, so that a user's runs stay."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("run", "__pycache__"))
    for package in ("plugin", "coupling", "da", "models"):
        (folder / package).symlink_to(ROOT / package)
    return folder


def ran(clone, module, *more):
    """What an example says, started without the variables that let root start mpirun."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PRTE_"))}
    environment = {**given, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", module, *more]
    ended = subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_reanalysis(clone):
    said = ran(clone, "examples.reanalysis.demo")
    folder = clone / "examples/reanalysis/run"
    for name in ("analyses.vtkhdf", "tracer.png", "errors.png"):
        assert (folder / name).stat().st_size > 10_000
    errors = re.findall(r"(\S+) +forecast (\S+)  analysis (\S+)", said)
    assert [name for name, *_ in errors] == ["Tracer", "Velocity.x", "Velocity.y"]
    for _, forecast, analysis in errors:
        assert float(analysis) < 0.75 * float(forecast)


def test_ensemble(clone):
    said = ran(clone, "examples.ensemble.demo", "--members", "6", "--windows", "2")
    run = clone / "examples/ensemble/run"
    with open(run / "etkf/parameters.csv", newline="") as file:
        rows = {(row["name"], int(row["window"])): row for row in csv.DictReader(file)}
    bounds = {"wind_speed": (0.6, 1.1), "source_x": (60.0, 90.0), "source_y": (130.0, 165.0)}
    for name, (low, high) in bounds.items():
        prior, last = rows[name, 0], rows[name, 2]
        assert low <= float(last["q05"]) < float(last["q95"]) <= high
        assert float(last["std"]) < 0.6 * float(prior["std"])
    assert (run / "report.html").stat().st_size > 100_000
    free, forecast, analysis = re.search(
        r"Velocity.y +free run (\S+)\n.* ETKF: forecast (\S+)  analysis (\S+)", said
    ).groups()
    assert float(forecast) < 0.6 * float(free) and float(analysis) < 0.3 * float(free)


def test_experiments(clone):
    ran(clone, "examples.experiments.demo")
    folder = clone / "examples/experiments/run/results"
    names = ("tables", "observations", "tradeoff", "steps", "truncation", "sparse", "localised", "refined", "cycled")
    for name in names:
        assert all((folder / f"{name}.{kind}").is_file() for kind in ("md", "json", "png", "svg"))
    with open(folder / "truncation-1.csv", newline="") as file:
        found = [float(row["error"]) for row in csv.DictReader(file)]
    assert found[-1] < found[0] < 1.0
