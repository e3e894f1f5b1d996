"""The example with OpenFOAM, smaller than a user starts it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from openfoam import needs_openfoam
from places import ROOT

from examples.openfoam.demo import HERE, foam_twin, main
from plugin.case.configuration import read_case


def test_it_runs_from_mesh_to_page(tmp_path):
    needs_openfoam()
    words = [sys.executable, "-m", "examples.openfoam.demo", "--run", str(tmp_path / "run")]
    words += ["--windows", "2", "--runs", "3", "--members", "4"]
    given = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PRTE_"))}
    environment = {**given, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads((tmp_path / "run/figures.json").read_text())
    assert set(figures["errors"]) == {"T", "U.x", "U.y"} and figures["gain_last_half"]["ETKF"]["U.x"] > 0.0
    assert re.search(r"source_strength +\S+ ± \S+ \(\S+\) +160.000", ended.stdout)
    assert (tmp_path / "run/report.html").stat().st_size > 100_000


@pytest.mark.parametrize("name", ["case.yml", "ensemble.yml"])
def test_the_cases_are_for_the_street_beside_them(name):
    case = read_case(HERE / name)
    assert (
        case.model.driver == "openfoam" and case.model.start == HERE / "run/start" and case.run.parent == HERE / "run"
    )
    twin = foam_twin(HERE / "run")
    assert case.cycle.windows == twin.windows and case.cycle.window == twin.window


def test_without_openfoam_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="pimpleFoam is not on PATH"):
        main([])


def test_a_mesh_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    for name in ("pimpleFoam", "blockMesh"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\nexit 3\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    with pytest.raises(SystemExit, match=r"blockMesh ended with exit code 3; see .*log.blockMesh"):
        main(["--run", str(tmp_path / "run")])
    shutil.rmtree(tmp_path / "run")
