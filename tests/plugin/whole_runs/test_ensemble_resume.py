"""A cycle of several models that is stopped, changed or made longer, and members that fail."""

import numpy as np
import pytest
from comparison import assert_same
from crash_case import (
    COMM,
    KILLED,
    WINDOWS,
    case_settings,
    make_case,
    write_case_file,
)
from cycle_case import ledger
from ensemble_case import MEMBERS, Job, tracers

from coupling.fluidity.checkpoint import open_restart, read_fields
from plugin.run.ledger import read_ledger


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("ensemble") / "case")


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """A run that nothing stopped."""
    job = Job(case, tmp_path_factory.mktemp("whole"))
    job.left = job.finish()
    return job


# How it goes on

QUICK = ["members begun:1", "window begun:1", "program ended:3", "forecast there:1", "analysis found:1"]
QUICK += ["member written:2", "restart written:1", "folder written:3", "folder in place:9", "file written:5"]
QUICK += ["table written:1", "entry written:1", "window pruned:1", "window recorded:1", "member written:3"]


def test_killed_at_each_of_its_moments_it_ends_with_the_same_bits(case, tmp_path):
    undisturbed = Job(case, tmp_path / "whole", cycle__keep=2).finish()
    job = Job(case, tmp_path, cycle__keep=2)
    for moment in QUICK:
        ended = job.start(fault=f"kill:{moment}")
        assert ended.code == KILLED, (moment, ended)
    assert job.finish() == undisturbed
    states = [len(list((job.run / f"{number:04d}/members").rglob("*.vtu"))) > 0 for number in range(WINDOWS + 1)]
    assert states == [False, False, True, True]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "moment", ["program ended", "member written", "folder written", "folder in place", "file written", "file in place"]
)
def test_killed_at_every_passing_of_a_moment(case, whole, tmp_path, moment):
    for passing in range(1, 1000):
        job = Job(case, tmp_path / str(passing))
        ended = job.start(fault=f"kill:{moment}:{passing}")
        if ended.code == 0:
            break
        assert ended.code == KILLED, ended
        assert job.finish() == whole.left, passing
    assert passing > 1


def test_two_ranks_of_which_one_is_killed(case, tmp_path):
    undisturbed = Job(case, tmp_path / "whole", 2).finish()
    job = Job(case, tmp_path, 2)
    assert job.start(fault="kill:program ended:3:1").code != 0
    assert job.start(fault="kill:member written:2:1").code != 0
    assert job.finish() == undisturbed


def test_a_restart_that_was_changed_is_refused_and_an_earlier_window_serves(case, whole, tmp_path):
    job = Job(case, tmp_path)
    assert job.finish() == whole.left
    field = min((job.run / "0003/members/02/analysis").glob("*.vtu"))
    content = bytearray(field.read_bytes())
    content[-20] ^= 1
    field.write_bytes(content)
    ended = job.start()
    assert ended.code == 2 and "0003/members/02/analysis/" in ended.said, ended
    assert "--after 2 goes on after window 2" in ended.said
    assert job.finish("--after", 2) == whole.left
    assert job.finish("--after", 0) == whole.left


def test_it_may_be_made_longer(case, whole, tmp_path):
    job = Job(case, tmp_path, cycle__windows=2)
    job.finish()
    settings = case_settings(case, job.run, ensemble={"members": MEMBERS, "failures": 2})
    write_case_file(job.file, settings)
    assert job.finish() == whole.left
    write_case_file(job.file, case_settings(case, job.run, ensemble={"members": MEMBERS + 1}))
    ended = job.start()
    assert ended.code == 2 and "another 'ensemble' section" in ended.said, ended


# Members that fail


@pytest.fixture
def broken(case):
    """broken(pattern): the model fails in folders that fit it, until the test ends."""
    path = case / "broken"
    yield path.write_text
    path.unlink(missing_ok=True)


def test_a_member_that_fails_is_run_again_from_its_background(case, whole, tmp_path):
    (case / "fail").touch()
    try:
        job = Job(case, tmp_path)
        job.finish()
    finally:
        (case / "fail").unlink()
    members = ledger(job.run)[1]["members"]
    assert [of["recovery"]["from"] for of in members] == ["background"] * MEMBERS
    assert f"{MEMBERS} members run again from their background" in job.said
    assert "member 3: the model ended with exit code 7; once more from the last forecast" in job.said
    began = job.run / "0002/members/03/forecast/restart.flml"
    before = ledger(job.run)[0]["members"][2]["forecast"]
    assert_same(read_fields(open_restart(began), COMM), read_fields(open_restart(job.run / before), COMM), ["Tracer"])
    assert (job.run / "0002/members/03/failed/launch.log").is_file()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_member_that_fails_again_is_replaced_by_a_draw_around_the_mean(case, whole, tmp_path, broken, ranks):
    broken("*/0002/members/03/*")
    job = Job(case, tmp_path, ranks, ensemble={"members": MEMBERS, "failures": 1})
    left = job.finish()
    entry = ledger(job.run)[1]
    assert entry["replaced"] == 1 and "exit code 7" in entry["members"][2]["replaced"]["problem"]
    assert "replaced by a draw around the others' mean" in job.said
    good = [0, 1, 3]
    new, others = tracers(job.run, 2)[:, 2], tracers(job.run, 2)[:, good]
    assert np.linalg.matrix_rank(np.column_stack([others, new]) - others.mean(axis=1, keepdims=True), tol=1e-6) == 3
    assert ledger(job.run)[2]["replaced"] == 1 and "replaced" not in ledger(job.run)[2]["members"][2]
    again = Job(case, tmp_path / "again", ranks, ensemble={"members": MEMBERS, "failures": 1})
    assert again.start(fault="kill:analysis found:2").code != 0
    assert again.finish() == left


def test_too_many_failures_end_the_job(case, tmp_path, broken):
    broken("*/000[23]/members/03/*")
    job = Job(case, tmp_path, ensemble={"members": MEMBERS, "failures": 1})
    ended = job.start()
    assert ended.code == 3 and "ensemble.failures allows 1 over the run, with these there are 2" in ended.said
    assert "member 3: the model ended with exit code 7" in ended.said
    assert len(read_ledger(job.run / "ledger.jsonl")) == 2


def test_a_model_that_always_fails_ends_the_job(case, tmp_path, broken):
    broken("*")
    ended = Job(case, tmp_path, ensemble={"members": MEMBERS, "failures": 9}).start()
    assert ended.code == 3 and "0 members are left, two are needed" in ended.said


def test_a_forecast_out_of_range_counts_as_failed(case, tmp_path):
    low = {"range": {"Tracer": [-1e-9, 1e9]}}
    ended = Job(case, tmp_path, gates=low, ensemble={"members": MEMBERS, "start": {"factor": 5.0}}).start()
    assert ended.code == 4 and "gates.range" in ended.said, ended  # the draws themselves
    bounds = {"bounds": {"Tracer": [0.0, None]}, **low}
    job = Job(case, tmp_path / "kept", gates=bounds, ensemble={"members": MEMBERS, "start": {"factor": 5.0}})
    job.finish()
    assert min(tracers(job.run, window).min() for window in range(WINDOWS + 1)) >= 0.0
