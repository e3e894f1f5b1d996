"""A cycle whose model does what no model should: code 3, one message that a screen holds, nothing left behind."""

import os
import subprocess

import pytest
from crash_case import case_settings, cycled, hidden, make_case, write_case_file
from cycle_case import ROOT, command, environment

from plugin.run.output import NO_READER


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("unruly") / "case")


def run_with(case, folder, script, **changes):
    """How a cycle ends whose model is a shell script."""
    model = folder / "model"
    model.write_text(f"#!/bin/bash\n{script}\n")
    model.chmod(0o755)
    given = case_settings(case, folder / "run", **changes)
    given["model"]["program"] = [str(model)]
    return cycled(write_case_file(folder / "case.yml", given))


@pytest.mark.parametrize("code", [0, 7])
def test_one_that_removes_its_folder_has_failed(case, tmp_path, code):
    ended = run_with(case, tmp_path, f'rm -rf "$PWD"; exit {code}')
    assert ended.code == 3 and "error: the program removed the folder that it ran in" in ended.said, ended
    assert "Traceback" not in ended.said and hidden(tmp_path / "run") == []


def test_one_that_writes_an_endless_line_with_control_characters_fills_no_screen(case, tmp_path):
    ended = run_with(
        case, tmp_path, r"printf '\033[2J\033]0;title\007'; head -c 200000000 /dev/zero | tr '\0' x; exit 7"
    )
    assert ended.code == 3 and "the model ended with exit code 7" in ended.said
    assert len(ended.said) < 10_000 and "\x1b" not in ended.said


def test_one_whose_launcher_refuses_root_gets_the_cure(case, tmp_path):
    words = "mpirun has detected an attempt to run as root."
    ended = run_with(case, tmp_path, f"echo '{words}'; exit 1")
    assert ended.code == 3 and "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in ended.said, ended


def test_one_that_leaves_a_daemon_behind_goes_on_without_it(case, tmp_path):
    script = f"setsid sleep 600 & echo $! >> {tmp_path}/pids; exec {case}/model"
    ended = run_with(case, tmp_path, script)
    assert ended.code == 0, ended
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3 and not any(alive(pid) for pid in pids)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("lines", [1, 2])
def test_a_cycle_whose_reader_goes_gives_the_run_folder_back_and_can_be_gone_on_with(case, tmp_path, lines):
    path = write_case_file(tmp_path / "case.yml", case_settings(case, tmp_path / "run"))
    words = command(1, "-m", "plugin.cycle", path)
    with subprocess.Popen(
        words, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        for _ in range(lines):
            job.stdout.readline()
        job.stdout.close()
        said = job.stderr.read()
    assert (job.returncode, said) == (NO_READER, "")
    assert not (tmp_path / "run/lock").exists()
    begun = ["--resume"] if (tmp_path / "run/case.json").exists() else []
    assert cycled(path, *begun).code == 0


def test_a_cycle_on_a_terminal_without_our_letters_goes_on(case, tmp_path):
    path = write_case_file(tmp_path / "case.yml", case_settings(case, tmp_path / "run"))
    ended = subprocess.run(
        command(1, "-m", "plugin.cycle", path), env={**environment(), "PYTHONIOENCODING": "latin-1"}, cwd=ROOT,
        capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0 and ended.stderr == b"", ended
    assert ended.stdout.count(b"\\u2192") == 6  # two in the line of each window
