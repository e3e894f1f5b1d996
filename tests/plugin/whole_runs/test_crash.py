"""Killed at any moment, a cycle or a reanalysis goes on and ends with the same bits; nothing half-made stays.

pytest -m nightly tests/plugin/whole_runs/test_crash.py    # a few hundred kills more
"""

import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
from crash_case import (
    KILLED,
    STOPPED,
    TIMED_OUT,
    WINDOWS,
    case_settings,
    cycled,
    hidden,
    left_by,
    make_case,
    python_ended,
    reanalysed,
    write_case_file,
)

from plugin.run.ledger import read_ledger

# of a window, in their order; those it is told after, and those that all files and folders pass
UNTOLD = ("window begun", "forecast there", "analysis found", "restart written", "table written")
TOLD = ("entry written", "window recorded")
FILES = ("file written", "file in place", "folder written", "folder in place")
# one after another, of three windows
QUICK = [f"{moment}:1" for moment in UNTOLD]
QUICK += [
    "folder written:1",
    "folder written:2",
    "folder in place:1",
    "folder in place:2",
    "file written:1",
    "file written:5",
]
QUICK += ["entry written:1", "window pruned:1", "window recorded:1"]
RANDOM = 4


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("crash") / "case")


class Job:
    """A cycle or a reanalysis in a folder of its own, and how it is started."""

    def __init__(self, case, folder, kind, ranks=1, **changes):
        self.run, self.kind, self.ranks = folder / "run", kind, ranks
        self.file = write_case_file(folder / "case.yml", case_settings(case, self.run, **changes))

    def start(self, **how):
        """Start it, by --resume where it was begun."""
        begun = (self.run / {"cycle": "case.json", "reanalysis": "reanalysis.json"}[self.kind]).exists()
        words = ["--resume"] if begun else []
        if self.ranks > 1:
            return python_ended(self.ranks, f"plugin.{self.kind}", self.file, *words, **how)
        return {"cycle": cycled, "reanalysis": reanalysed}[self.kind](self.file, *words, **how)

    def finish(self):
        ended = self.start()
        assert ended.code == 0, ended
        assert hidden(self.run) == []
        return left_by(self.run)


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """whole(kind, ranks, …): what a job leaves that nothing stopped."""
    found = {}

    def of(kind, ranks=1, **changes):
        key = kind, ranks, *changes.items()
        if key not in found:
            found[key] = Job(case, tmp_path_factory.mktemp("whole"), kind, ranks, **changes).finish()
        return found[key]

    return of


# Kills


def test_a_cycle_killed_at_each_of_its_moments_ends_with_the_same_bits(case, whole, tmp_path):
    job = Job(case, tmp_path, "cycle", cycle__keep=2)
    for moment in QUICK:
        ended = job.start(fault=f"kill:{moment}")
        assert ended.code == KILLED, (moment, ended)
    assert job.finish() == whole("cycle", cycle__keep=2)


def test_a_reanalysis_killed_at_each_of_its_moments_ends_with_the_same_bits(case, whole, tmp_path):
    job = Job(case, tmp_path, "reanalysis")
    for moment in ("file written:1", "folder written:1", "folder in place:1", "archive joined:1", "file written:2"):
        ended = job.start(fault=f"kill:{moment}")
        assert ended.code == KILLED, (moment, ended)
    assert job.finish() == whole("reanalysis")


def killed_at_random(case, whole, folder, kind, seed, n_kills):
    """Jobs killed so many times in all, at moments that come later until a job gets to its end."""
    moments, met, number = random.Random(seed), 0, 0
    while met < n_kills:
        number += 1
        job, longest, ended = Job(case, folder / str(number), kind), 0.1, None
        while ended is None or ended.code == KILLED:
            after, longest = moments.uniform(0.0, longest), 1.2 * longest

            def kill(child, after=after):
                time.sleep(after)
                os.kill(child, signal.SIGKILL)

            ended = job.start(meanwhile=kill)
            met += ended.code == KILLED
        assert ended.code == 0 and job.finish() == whole(kind), ended


@pytest.mark.parametrize("kind", ["cycle", "reanalysis"])
def test_killed_at_random_moments_it_ends_with_the_same_bits(case, whole, tmp_path, kind):
    killed_at_random(case, whole, tmp_path, kind, 1, RANDOM)


def test_two_ranks_of_which_one_is_killed_and_one_finds_the_disk_full(case, whole, tmp_path):
    job = Job(case, tmp_path, "cycle", ranks=2)
    assert job.start(fault="kill:analysis found:2:1").code not in (0, TIMED_OUT)
    assert len(read_ledger(job.run / "ledger.jsonl")) == 1
    ended = job.start(fault="full:folder written:2:0")
    assert ended.code == 2 and ended.said.count("error: [Errno 28] No space left on device") == 1, ended
    assert job.finish() == whole("cycle", 2)


@pytest.mark.nightly
@pytest.mark.parametrize("moment", [*UNTOLD, *TOLD, *FILES, "window pruned"])
def test_a_cycle_killed_at_every_passing_of_a_moment(case, whole, tmp_path, moment):
    _at_every_passing(case, whole, tmp_path, "cycle", moment, cycle__keep=2)


@pytest.mark.nightly
@pytest.mark.parametrize("moment", [*FILES, "archive joined"])
def test_a_reanalysis_killed_at_every_passing_of_a_moment(case, whole, tmp_path, moment):
    _at_every_passing(case, whole, tmp_path, "reanalysis", moment)


def _at_every_passing(case, whole, folder, kind, moment, **changes):
    for passing in range(1, 1000):
        job = Job(case, folder / str(passing), kind, **changes)
        ended = job.start(fault=f"kill:{moment}:{passing}")
        if ended.code == 0:
            break
        assert ended.code == KILLED, ended
        assert job.finish() == whole(kind, **changes), passing
    assert passing > 1


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["cycle", "reanalysis"])
@pytest.mark.parametrize("seed", range(2, 12))
def test_killed_at_many_random_moments(case, whole, tmp_path, kind, seed):
    killed_at_random(case, whole, tmp_path, kind, seed, 10)


@pytest.mark.nightly
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", [*UNTOLD, "folder written", "file in place"])
def test_a_rank_of_two_is_killed(case, whole, tmp_path, moment, rank):
    job = Job(case, tmp_path, "cycle", ranks=2)
    rank = rank if moment in UNTOLD[:-1] else 0  # the others are passed by rank 0 alone
    assert job.start(fault=f"kill:{moment}:2:{rank}").code not in (0, TIMED_OUT)
    assert job.finish() == whole("cycle", 2)


@pytest.mark.nightly
@pytest.mark.parametrize("moment", ["file written:5", "folder written:1", "archive joined:1"])
def test_a_rank_of_two_is_killed_in_a_reanalysis(case, whole, tmp_path, moment):
    job = Job(case, tmp_path, "reanalysis", ranks=2)
    assert job.start(fault=f"kill:{moment}:0").code not in (0, TIMED_OUT)
    assert job.finish() == whole("reanalysis", 2)


# Stops, errors and ranks that hang


@pytest.mark.parametrize("kind", ["cycle", "reanalysis"])
def test_sigterm_ends_it_with_its_own_code_and_without_a_lock(case, whole, tmp_path, kind):
    job = Job(case, tmp_path, kind)
    ended = job.start(fault="stop:folder written:1")
    assert ended.code == STOPPED and "stopped by SIGTERM; what is finished is kept" in ended.said, ended
    assert "lock" not in hidden(job.run)
    assert job.finish() == whole(kind)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_cycle_that_ends_while_its_model_runs_takes_it_along(case, whole, tmp_path, number):
    job = Job(case, tmp_path, "cycle")
    wait, told = case / "wait", case / "pid"
    wait.touch()
    told.unlink(missing_ok=True)

    def end(child):
        assert soon(told.is_file)
        os.kill(child, number)

    try:
        ended = job.start(meanwhile=end)
    finally:
        wait.unlink()
    assert ended.code == (STOPPED if number == signal.SIGTERM else KILLED), ended
    assert soon(lambda: not Path(f"/proc/{int(told.read_text())}").exists())
    assert job.finish() == whole("cycle")


def soon(true, patience=20.0):
    end = time.monotonic() + patience
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


@pytest.mark.nightly
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_rank_ends_the_job_with_its_message(case, tmp_path, rank):
    job = Job(case, tmp_path, "cycle", ranks=2)
    ended = job.start(fault=f"raise:analysis found:1:{rank}")
    assert ended.code == 1 and ended.said.count("RuntimeError: fault at 'analysis found'") == 1, ended
    assert read_ledger(job.run / "ledger.jsonl") == []


@pytest.mark.nightly
def test_a_rank_that_hangs_is_shown_by_the_watchdog(case, tmp_path):
    job = Job(case, tmp_path, "cycle", ranks=2, watchdog=3.0)
    began = time.monotonic()
    ended = job.start(fault="hang:analysis found:1:1")
    assert ended.code == 1 and time.monotonic() - began < 60
    assert "Timeout (0:00:03)!" in ended.said and "in _hang" in ended.said, ended


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_within_the_forecast_once_the_model_has_ended_is_shown(case, tmp_path, rank):
    job = Job(case, tmp_path, "cycle", ranks=2, watchdog=4.0)
    began = time.monotonic()
    ended = job.start(fault=f"hang:program ended:1:{rank}")
    assert ended.code not in (0, TIMED_OUT) and time.monotonic() - began < 60
    assert "Timeout (0:00:04)!" in ended.said and "in _hang" in ended.said, ended


# Full disks


@pytest.mark.parametrize("moment", ["folder written:2", "table written:1", "entry written:2", "file written:3"])
def test_a_full_disk_is_told_and_the_cycle_goes_on_once_there_is_room(case, whole, tmp_path, moment):
    job = Job(case, tmp_path, "cycle")
    ended = job.start(fault=f"full:{moment}")
    assert ended.code == 2 and "error: [Errno 28] No space left on device" in ended.said, ended
    assert [name for name in hidden(job.run) if ".partial" in name] == []
    assert job.finish() == whole("cycle")


@pytest.mark.parametrize(("kind", "size"), [("cycle", 6000), ("reanalysis", 20000)])
def test_files_that_find_no_room_are_told_by_name(case, whole, tmp_path, kind, size):
    job = Job(case, tmp_path, kind)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ended = job.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard)))
    assert ended.code == 2 and str(job.run) in ended.said and "Traceback" not in ended.said, ended
    assert [name for name in hidden(job.run) if ".partial" in name] == []
    assert job.finish() == whole(kind)


# Restarts that are not as they were written


def test_a_restart_that_was_changed_is_refused_and_an_earlier_one_serves(case, whole, tmp_path):
    job = Job(case, tmp_path, "cycle")
    expected = job.finish()
    assert expected == whole("cycle")
    for damaged in (3, 2):
        field = min((job.run / f"000{damaged}/analysis").glob("*.vtu"))
        content = bytearray(field.read_bytes())
        content[-20] ^= 1
        field.write_bytes(content)
    ended = job.start()
    assert ended.code == 2 and f"error: {job.run}/0003/analysis/" in ended.said, ended
    assert "not those that were written (SHA-256); --after 1 goes on after window 1" in ended.said
    ended = cycled(job.file, "--after", 1)
    assert ended.code == 0 and "window 2 of 3" in ended.said and "window 1 of" not in ended.said, ended
    assert left_by(job.run) == expected
    (job.run / "0003/analysis/manifest.json").unlink()
    assert "manifest.json: is missing" in job.start().said
    assert cycled(job.file, "--after", 4).code == 2


def test_a_run_folder_has_one_job(case, whole, tmp_path):
    job = Job(case, tmp_path, "cycle")
    said = []

    def second(child):
        assert soon((job.run / "case.json").is_file)
        said.append(job.start())
        os.kill(child, signal.SIGKILL)

    ended = job.start(fault="hang:forecast there:1", meanwhile=second)
    assert ended.code == KILLED
    assert said[0].code == 2 and "this run folder is in use (process" in said[0].said, said
    ended = job.start()
    assert ended.code == 0 and "is gone (process" in ended.said and "its lock is taken over" in ended.said, ended
    assert left_by(job.run) == whole("cycle")
    assert len(read_ledger(job.run / "ledger.jsonl")) == WINDOWS
