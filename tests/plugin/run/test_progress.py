"""What a person sees: plain lines, or on a terminal what goes on just now; from rank 0 only."""

import io
import os
import pty
import subprocess
from types import SimpleNamespace

import pytest
from cycle_case import ROOT, command, environment
from mpi4py import MPI
from rich.console import Console

from plugin.run.progress import Progress

COMM = MPI.COMM_SELF
LONG = "[bold]window 1[/bold] of /a/folder: " + 60 * "long " + "end"
JOB = f"""
from mpi4py import MPI
from plugin.run.progress import Progress
progress = Progress(MPI.COMM_WORLD)
with progress.stage("forecast", "window 1: forecast"):
    progress.say({LONG!r})
"""


def test_lines_are_said_as_they_are():
    file = io.StringIO()
    progress = Progress(COMM, Console(file=file, width=80))
    with progress.stage("forecast", "window 1: forecast"):
        progress.say(LONG)
    assert file.getvalue() == LONG + "\n"


def test_stages_are_timed():
    progress = Progress(COMM, Console(file=io.StringIO()))
    for _ in range(2):
        with progress.stage("forecast"):
            pass
    with progress.stage("analysis"):
        assert set(progress.seconds) == {"forecast"}
    assert set(progress.seconds) == {"forecast", "analysis"} and min(progress.seconds.values()) >= 0


def test_a_stage_lets_errors_through():
    with pytest.raises(ZeroDivisionError), Progress(COMM, Console(file=io.StringIO())).stage("forecast"):
        raise ZeroDivisionError


def test_a_terminal_shows_the_stage():
    file = io.StringIO()
    progress = Progress(COMM, Console(file=file, force_terminal=True, highlight=False))
    with progress.stage("forecast", "window 1: forecast"):
        progress.say("background errors")
    assert "window 1: forecast …" in file.getvalue() and "\x1b" in file.getvalue()
    assert "background errors\n" in file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_bar_on_a_terminal_and_lines_elsewhere(terminal):
    file = io.StringIO()
    progress = Progress(COMM, Console(file=file, force_terminal=terminal, highlight=False, width=100))
    with progress.bar("network") as bar:
        for epoch in (1, 2):
            for step in (1, 2, 3):
                bar.step(step, 3)
            bar.describe(f"epoch [{epoch}]")
    if terminal:
        assert "\x1b" in file.getvalue() and "epoch [2]" in file.getvalue() and "3/3" in file.getvalue()
    else:
        assert file.getvalue() == "epoch [1]\nepoch [2]\n"


def test_other_ranks_are_silent(capsys):
    progress = Progress(SimpleNamespace(rank=1, size=2))
    with progress.stage("forecast"):
        progress.say(LONG)
    with progress.bar("network") as bar:
        bar.step(1, 2)
        bar.describe(LONG)
    assert capsys.readouterr().out == "" and set(progress.seconds) == {"forecast"}


@pytest.mark.parametrize("ranks", [1, 2])
def test_without_a_terminal_lines_are_plain(ranks):
    done = subprocess.run(
        command(ranks, "-c", JOB), env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == LONG + "\n"


@pytest.mark.parametrize("ranks", [1, 2])
def test_on_a_terminal_the_stage_is_live(ranks):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(ranks, "-c", JOB), env={**environment(), "TERM": "xterm"}, cwd=ROOT, stdout=theirs
    ) as job:
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
    os.close(ours)
    assert job.returncode == 0
    assert b"\x1b" in shown and "window 1: forecast …".encode() in shown


def _read(terminal):
    """What is shown next; nothing once all who could write are gone."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
