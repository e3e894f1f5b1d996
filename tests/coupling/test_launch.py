"""Starting programs: environment, time-outs, exit codes, waiting ranks."""

import os
import sys
import time

import pytest
from mpi4py import MPI

from coupling.launch import ModelError, clean_environment, launch

COMM = MPI.COMM_SELF


def test_environment_is_free_of_the_job_that_we_are(monkeypatch, tmp_path):
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_SIZE", "OMPI_MCA_orte_ess_num_procs"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.join(sys.prefix, "bin"), "/usr/bin"]))
    environment = clean_environment(tmp_path, {"PYTHONPATH": "here"})
    assert not [n for n in environment if n.startswith(("PMI", "OMPI_COMM", "OMPI_MCA_orte"))]
    assert environment["OMPI_ALLOW_RUN_AS_ROOT"] == "1"
    assert environment["PWD"] == str(tmp_path) and environment["PYTHONPATH"] == "here"
    assert environment["PATH"] == "/usr/bin"


def test_it_runs_in_the_folder_and_keeps_what_is_printed(tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['PWD']); sys.exit(3)"
    ended = launch([sys.executable, "-c", code], tmp_path, COMM)
    assert (ended.code, ended.timed_out) == (3, False)
    assert (tmp_path / "launch.log").read_text() == f"{tmp_path} {tmp_path}\n"


def test_time_out_kills_the_program_and_its_children(tmp_path):
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('child', 'w').write(str(p.pid)); time.sleep(60)"
    )
    began = time.monotonic()
    ended = launch([sys.executable, "-c", code], tmp_path, COMM, timeout=1.0)
    assert ended.timed_out and time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        try:
            state = open(f"/proc/{child}/stat").read().split()[2]
        except FileNotFoundError:
            break
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the program's child still runs")


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="cannot start 'no-such-program'.*on PATH"):
        launch(["no-such-program"], tmp_path, COMM)


def test_an_mpi_program_starts_from_inside_an_mpi_job_and_others_sleep(mpirun, tmp_path):
    done = mpirun(2, "tests/coupling/parallel_launch.py", tmp_path)
    assert "nested ranks [0, 1] of 2" in done.stdout
    waited = float(done.stdout.split("waiting rank used")[1].split()[0])
    assert waited < 0.3  # of two seconds: asleep, not spinning
