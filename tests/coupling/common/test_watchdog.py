"""A rank that does not get on shows where it is and ends the job."""

import time

import pytest
from cycle_case import python

SERIAL = """
import time
from coupling.common.watchdog import alive, unwatched, watched

def slow(seconds):
    time.sleep(seconds)

{body}
print("went on")
"""
PARALLEL = """
import time
from mpi4py import MPI
from petsc4py import PETSc
from coupling.common.watchdog import watched

def hangs():
    time.sleep(600)

with watched(1.0):
    if MPI.COMM_WORLD.rank == 1:
        hangs()
    # PETSc waits for the other rank, and Python stands still meanwhile
    PETSc.Vec().createMPI(10, comm=PETSc.COMM_WORLD).norm()
"""


# two ranks, of which one starts a program that takes longer than the watchdog's limit; then one of them hangs
LAUNCHING = """
import time
from pathlib import Path
from mpi4py import MPI
from coupling.common.watchdog import watched
from coupling.simulation.launch import launch

def hangs():
    time.sleep(600)

comm = MPI.COMM_WORLD
with watched(1.0):
    launch(["sleep", "3"], Path({folder!r}), comm, {limits})
    if comm.rank == {rank}:
        hangs()
print("went on")
"""


@pytest.mark.parametrize("limits", ["timeout=60", "silence=60", ""])
def test_a_program_that_takes_longer_is_waited_for(tmp_path, limits):
    ended = python(2, "-c", LAUNCHING.format(folder=str(tmp_path), limits=limits, rank=None))
    assert ended.returncode == 0 and ended.stdout == "went on\nwent on\n", ended.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_once_the_program_has_ended_is_shown(tmp_path, rank):
    began = time.monotonic()
    ended = python(2, "-c", LAUNCHING.format(folder=str(tmp_path), limits="", rank=rank))
    assert ended.returncode != 0 and time.monotonic() - began < 30
    assert "Timeout (0:00:01)!" in ended.stderr and "in hangs" in ended.stderr, ended.stderr


def test_ranks_that_wait_asleep_for_one_that_hangs_end_with_it():
    body = """
from mpi4py import MPI
from coupling.common.waiting import wait_asleep
with watched(1.0):
    if MPI.COMM_WORLD.rank == 1:
        slow(600)
    wait_asleep(MPI.COMM_WORLD)
"""
    ended = python(2, "-c", SERIAL.format(body=body))
    assert ended.returncode != 0 and ended.stderr.count("Timeout (0:00:01)!") == 1 and "in slow" in ended.stderr


@pytest.mark.parametrize(
    "body",
    [
        "with watched(0.5):\n    for _ in range(5): slow(0.2); alive()",
        "with watched(0.5):\n    with unwatched(): slow(1.0)\n    slow(0.2)",
        "with watched(0.5): pass\nslow(0.8)",
        "with watched(None): alive(); slow(0.3)",
    ],
    ids=["gets on", "waits for a model", "ended", "no limit"],
)
def test_one_that_gets_on_is_let_go_on(body):
    ended = python(1, "-c", SERIAL.format(body=body))
    assert ended.returncode == 0 and ended.stdout == "went on\n" and ended.stderr == "", ended.stderr


@pytest.mark.parametrize(
    "body",
    ["with watched(0.3): slow(60)", "with watched(0.3):\n    with unwatched(): slow(0.5)\n    slow(60)"],
    ids=["at once", "after a model"],
)
def test_one_that_does_not_is_ended_and_shows_where_it_is(body):
    began = time.monotonic()
    ended = python(1, "-c", SERIAL.format(body=body))
    assert ended.returncode == 1 and time.monotonic() - began < 20 and "went on" not in ended.stdout
    assert "Timeout (0:00:00.3" in ended.stderr and "in slow" in ended.stderr


def test_of_two_ranks_that_wait_for_ever_both_end():
    ended = python(2, "-c", PARALLEL)
    assert ended.returncode == 1
    assert "Timeout (0:00:01)!" in ended.stderr and "in hangs" in ended.stderr, ended.stderr
