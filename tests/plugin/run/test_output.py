"""What a command shows to a terminal, a file, and a pipe whose reader goes."""

import os
import pty
import subprocess
import sys

import pytest
from cycle_case import ROOT, command, environment
from mpi_words import mpirun_words

from plugin.run.output import NO_READER

JOB = """
from pathlib import Path
from mpi4py import MPI
from petsc4py import PETSc
from plugin.run.job import run_job
from plugin.run.lock import locked
from plugin.run.output import show
from plugin.run.progress import Progress
comm = MPI.COMM_WORLD
progress = Progress(comm)

def main():
    {body}

run_job(main, comm)
"""
UNFIT = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202etxt\r\x00 end"


def job(*body, ranks=1, **how):
    words = command(ranks, "-c", JOB.format(body="\n    ".join(body)))
    return subprocess.run(words, env={**environment(), **how.pop("env", {})}, cwd=ROOT, check=False, **how)


def headed(words, folder, lines=1):
    """(exit code, lines read, stderr) of a command whose output is read no further than some lines, as by head."""
    with subprocess.Popen(
        words, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        read = [process.stdout.readline() for _ in range(lines)]
        process.stdout.close()
        said = process.stderr.read()
    return process.returncode, read, said


@pytest.mark.parametrize("how", ["progress.say('line')", "print('line', flush=True)", "show('line')", "print('line')"])
def test_a_reader_that_goes_ends_the_job_in_silence_and_gives_the_lock_back(tmp_path, how):
    body = f"with locked(Path({str(tmp_path)!r}), comm):\n        for _ in range(100_000):\n            {how}"
    code, read, said = headed(command(1, "-c", JOB.format(body=body)), tmp_path)
    assert (code, read, said) == (NO_READER, ["line\n"], "")
    assert os.listdir(tmp_path) == []


def test_a_reader_of_little_that_goes_is_no_fault_of_python_either(tmp_path):
    """What is buffered until the end is found unread only then."""
    words = command(1, "-c", JOB.format(body="import time; print('a', flush=True); time.sleep(1.0); print('b')"))
    code, read, said = headed(words, tmp_path)
    assert (code, read, said) == (NO_READER, ["a\n"], "")


def test_head_of_a_schema(tmp_path):
    """A real command, whose PETSc has a signal handler of its own."""
    code, read, said = headed(command(1, "-m", "plugin.cycle", "--schema"), tmp_path)
    assert (code, said) in ((NO_READER, ""), (0, "")) and read == ["{\n"]


def test_the_error_of_a_job_that_nobody_listens_to_is_its_exit_code():
    ours, theirs = os.pipe()
    os.close(ours)
    ended = job("from coupling.common.files import FileError; raise FileError('told')", stderr=theirs)
    os.close(theirs)
    assert ended.returncode == 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_letters_that_the_output_does_not_have_are_written_out(encoding):
    ended = job(
        "progress.say('J 3 → 2, σ é'); print('→'); raise RuntimeError('→ σ')",
        env={"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert ended.returncode == 1
    shown = ended.stdout.decode(encoding)
    assert shown.startswith("J 3 \\u2192 2, \\u03c3 ") and shown.endswith("\\u2192\n")
    assert "RuntimeError: \\u2192 \\u03c3" in ended.stderr.decode(encoding)


@pytest.mark.parametrize("how", ["progress.say", "show", "raise RuntimeError"])
def test_no_control_character_reaches_a_terminal(how):
    ended = job(f"{how}({UNFIT!r})", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    shown = ended.stdout + ended.stderr
    assert not [c for c in shown if not c.isprintable() and c != "\n"], repr(shown)
    assert r"\x1b[2J\x1b]0;title\x07 \x9b31m \u202etxt\x0d\x00 end" in shown


STAGE = "with progress.stage('forecast', 'window 1: forecast'): progress.say('a line')"


@pytest.mark.parametrize(
    ("launcher", "env"),
    [
        ([], {}),
        (mpirun_words(1), {}),
        (mpirun_words(2), {}),
        ([], {"FORCE_COLOR": "1"}),
        ([], {"TTY_COMPATIBLE": "1"}),
    ],
    ids=["alone", "mpirun -n 1", "mpirun -n 2", "FORCE_COLOR", "TTY_COMPATIBLE"],
)
@pytest.mark.parametrize("to", ["file", "pipe"])
def test_escape_codes_go_to_a_terminal_only(tmp_path, launcher, env, to):
    words = [*launcher, sys.executable, "-c", JOB.format(body=STAGE)]
    given = {**environment(), "TERM": "xterm-256color", **env}
    if to == "pipe":
        shown = subprocess.run(words, env=given, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    else:
        with open(tmp_path / "log", "wb") as log:
            subprocess.run(words, env=given, cwd=ROOT, check=True, stdout=log)
        shown = (tmp_path / "log").read_bytes()
    assert shown.replace(b"\r\n", b"\n") == b"a line\n"


@pytest.mark.parametrize("launcher", [[], mpirun_words(1)], ids=["alone", "mpirun -n 1"])
def test_a_terminal_has_its_spinner(launcher):
    ours, theirs = pty.openpty()
    words = [*launcher, sys.executable, "-c", JOB.format(body=STAGE)]
    with subprocess.Popen(words, env={**environment(), "TERM": "xterm"}, cwd=ROOT, stdout=theirs):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # all who could write are gone
            pass
    os.close(ours)
    assert b"\x1b" in shown and "window 1: forecast …".encode() in shown
