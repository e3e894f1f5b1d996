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
