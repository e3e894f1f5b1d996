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


def ran(clone, module):
    """What an example says, started without the variables that let root start mpirun."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PRTE_"))}
    environment = {**given, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", module]
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


def test_experiments(clone):
    ran(clone, "examples.experiments.demo")
    folder = clone / "examples/experiments/run/results"
    names = ("tables", "observations", "tradeoff", "steps", "truncation", "sparse", "localised", "refined", "cycled")
    for name in names:
        assert all((folder / f"{name}.{kind}").is_file() for kind in ("md", "json", "png", "svg"))
    with open(folder / "truncation-1.csv", newline="") as file:
        found = [float(row["error"]) for row in csv.DictReader(file)]
    assert found[-1] < found[0] < 1.0
