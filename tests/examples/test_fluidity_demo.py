"""The example with Fluidity, as far as it can go without it."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT

from examples.fluidity.demo import HERE, fluidity_twin, main, write_case
from plugin.case.configuration import read_case

WORDS = ["--windows", "1", "--runs", "1"]


def demo(folder, words, **variables):
    """The example in a copy of its folder, without the variables that allow mpirun anything."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("run", "__pycache__"))
    for package in ("plugin", "coupling", "da", "models"):
        (folder / package).symlink_to(ROOT / package)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PRTE_"))}
    command = [sys.executable, "-m", "examples.fluidity.demo", *words]
    return subprocess.run(
        command, cwd=folder, env={**environment, "OMP_NUM_THREADS": "1", **variables}, capture_output=True, text=True
    )


def test_a_shorter_case_is_the_same_case_otherwise(tmp_path):
    short, own = read_case(write_case(tmp_path / "case.yml", 3, 2)), read_case(HERE / "case.yml")
    assert short.cycle.windows == 3 and short.background.truncation == 39 and own.background.truncation == 60
    assert (short.run, short.model, short.grid, short.variables) == (own.run, own.model, own.grid, own.variables)
    assert short.background.snapshots == own.background.snapshots and short.observations == own.observations
    twin = fluidity_twin(tmp_path / "run", tmp_path / "case.yml", 3, 2)
    assert twin.windows == 3 and len(twin.training) == 2


def test_a_model_that_fails_is_a_message_and_mpirun_is_allowed_to_start_it(tmp_path):
    program = tmp_path / "bin/fluidity"
    program.parent.mkdir()
    program.write_text("#!/bin/bash\necho '*** ERROR *** no licence to flow' > fluidity.err-0; exit 16\n")
    program.chmod(0o755)
    ended = demo(tmp_path, WORDS, PATH=f"{program.parent}:{os.environ['PATH']}")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert re.search(r"^the experiment stopped: the model ended with exit code 16", ended.stderr, re.MULTILINE)
    assert "no licence to flow" in ended.stderr


@pytest.mark.parametrize("words", [["--windows", "0"], ["--runs", "many"]])
def test_a_number_that_is_none_is_refused(words, tmp_path):
    ended = demo(tmp_path, words)
    assert ended.returncode == 2 and "expected a whole number above zero" in ended.stderr


def test_without_fluidity_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="fluidity is not on PATH"):
        main(WORDS)
