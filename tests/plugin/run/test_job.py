"""One job over ranks: one message, one exit code, no rank left behind."""

import argparse

import pytest
from cycle_case import python
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError
from coupling.simulation.launch import ModelError
from da.minimisation.minimise import MinimisationError
from da.observation.observations import ObservationsError
from plugin.case.configuration import ConfigurationError
from plugin.readings import ReadingsError
from plugin.run.job import read_words, run_job
from plugin.run.ledger import LedgerError

COMM = MPI.COMM_SELF
JOB = """
import time
from mpi4py import MPI
import plugin.run.job
from coupling.common.files import FileError
from da.minimisation.minimise import MinimisationError

COMM = MPI.COMM_WORLD
plugin.run.job._PATIENCE = 0.5

def main():
    {body}

plugin.run.job.run_job(main, COMM)
"""


def job(ranks, body):
    """A job whose main function is `body`."""
    return python(ranks, "-c", JOB.format(body="\n    ".join(body)))


def ended(main):
    """Exit code of a job in this process."""
    with pytest.raises(SystemExit) as end:
        run_job(main, COMM)
    return end.value.code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kind("told"), 2)
        for kind in (ConfigurationError, FileError, LedgerError, MeshError, ObservationsError, ReadingsError)
    ]
    + [(PermissionError("told"), 2), (ModelError("told"), 3), (MinimisationError("told"), 4)],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_kind_of_error_has_its_code(error, code, capsys):
    assert ended(raising(error)) == code
    assert capsys.readouterr().err == "error: told\n"


def test_what_nobody_expected_shows_where_it_came_from(capsys):
    assert ended(raising(ZeroDivisionError("told"))) == 1
    text = capsys.readouterr().err
    assert "Traceback" in text and "in main" in text and "ZeroDivisionError: told" in text


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (5, 5)])
def test_without_an_error_the_code_is_mains(returned, code, capsys):
    assert ended(lambda: returned) == code
    assert capsys.readouterr().err == ""


def test_an_error_of_all_ranks_is_told_once():
    # a loaded machine may start one rank long after another: they are patient with each other's ends, not with that
    done = job(3, ["COMM.Barrier()", "time.sleep(0.1 * COMM.rank)", "raise MinimisationError('no minimum')"])
    assert done.returncode == 4
    assert done.stderr.count("error: no minimum") == 1 and "MPI_ABORT" not in done.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_rank_ends_the_others(rank):
    done = job(
        2, [f"if COMM.rank == {rank}:", "    raise FileError('broken piece')", "COMM.Barrier()", "print('went on')"]
    )
    assert done.returncode == 2
    assert done.stderr.count("error: broken piece") == 1 and "went on" not in done.stdout


def test_the_code_of_a_good_end_is_told_by_all_ranks():
    done = job(2, ["print('rank', COMM.rank, flush=True)"])
    assert done.returncode == 0 and sorted(done.stdout.split("\n")) == ["", "rank 0", "rank 1"]


@pytest.mark.parametrize(
    "wait",
    ["time.sleep(60)", "MPI.COMM_SELF.Recv(bytearray(1), source=0)"],
    ids=["in Python", "in MPI, for a message that nobody sends"],
)
def test_sigterm_ends_a_rank_wherever_it_waits(wait):
    done = job(
        1,
        [
            "import os, signal, threading",
            "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()",
            wait,
        ],
    )
    assert done.returncode == 143, done.stderr
    assert "stopped by SIGTERM; what is finished is kept" in done.stderr


def test_a_wrong_word_is_told_once():
    done = job(
        2,
        [
            "import argparse",
            "parser = argparse.ArgumentParser(prog='job')",
            "parser.add_argument('--resume', action='store_true')",
            "plugin.run.job.read_words(parser, ['--resum', '--wrong'], COMM)",
        ],
    )
    assert done.returncode == 2
    assert done.stderr.count("job: error: unrecognized arguments: --wrong") == done.stderr.count("usage: job") == 1


def test_words_are_read():
    parser = argparse.ArgumentParser()
    parser.add_argument("--resume", action="store_true")
    assert read_words(parser, ["--resume"], COMM).resume is True
