"""One job at a time in a run folder."""

import json
import os
import subprocess
import sys

import pytest
from mpi4py import MPI

from coupling.common import locks
from plugin.case.configuration import ConfigurationError
from plugin.run.lock import locked

COMM = MPI.COMM_SELF


def held_by(folder, **changes):
    """A lock that somebody else left."""
    with locked(folder / "other", COMM):
        of = json.loads((folder / "other/lock").read_text())
    (folder / "run").mkdir(exist_ok=True)
    path = folder / "run/lock"
    path.write_text(json.dumps({**of, **changes}))
    return path


def gone():
    """Number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_it_is_there_for_the_block_and_a_folder_made_for_it_goes_if_nothing_is_in_it(tmp_path):
    with locked(tmp_path / "run", COMM):
        assert json.loads((tmp_path / "run/lock").read_text())["process"] == os.getpid()
        assert os.listdir(tmp_path / "run") == ["lock"]
    assert os.listdir(tmp_path) == []
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "run", COMM):
        (tmp_path / "run/kept").touch()
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "run") == ["kept"]


def test_a_second_job_is_refused_and_leaves_the_first_ones_lock(tmp_path):
    with locked(tmp_path, COMM):
        before = (tmp_path / "lock").read_text()
        with (
            pytest.raises(ConfigurationError, match=rf"lock: this run folder is in use \(process {os.getpid()} on "),
            locked(tmp_path, COMM),
        ):
            pass
        assert (tmp_path / "lock").read_text() == before and os.listdir(tmp_path) == ["lock"]


@pytest.mark.parametrize("how", ["gone", "a later process of its number"])
def test_a_lock_of_a_process_that_is_gone_is_taken_over(tmp_path, how):
    path = held_by(tmp_path, **({"process": gone()} if how == "gone" else {"began": 1}))
    said = []
    with locked(tmp_path / "run", COMM, said.append):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert len(said) == 1 and "is gone (process" in said[0] and "taken over" in said[0]
    assert os.listdir(tmp_path / "run") == []


def test_another_hosts_lock_is_for_a_person_to_judge(tmp_path):
    path = held_by(tmp_path, host="node17", process=gone())
    with (
        pytest.raises(ConfigurationError, match="on node17, since .* if it does not, remove the file"),
        locked(tmp_path / "run", COMM),
    ):
        pass
    assert path.exists()


def test_a_job_that_slurm_has_queued_again_takes_over_its_own(tmp_path, monkeypatch):
    held_by(tmp_path, host="node17", slurm=["4711", "0"])
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with pytest.raises(ConfigurationError, match="on node17"), locked(tmp_path / "run", COMM):
        pass  # another step of the same job, at the same time
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    said = []
    with locked(tmp_path / "run", COMM, said.append):
        pass
    assert "put into the queue again" in said[0]


def test_what_is_no_lock_of_ours_is_not_taken_away(tmp_path):
    (tmp_path / "lock").write_text("{")
    with (
        pytest.raises(ConfigurationError, match="lock: cannot be understood; remove it if no job"),
        locked(tmp_path, COMM),
    ):
        pass
    assert (tmp_path / "lock").read_text() == "{"


def test_of_two_who_take_a_stale_lock_over_one_gets_it(tmp_path, monkeypatch):
    """The other was quicker between our look and our hand."""
    path = held_by(tmp_path, process=gone())
    live = json.dumps({**json.loads(path.read_text()), "process": os.getpid()})
    judge = locks._judge

    def slow(*words):
        said = judge(*words)
        path.write_text(live)
        return said

    monkeypatch.setattr(locks, "_judge", slow)
    with (
        pytest.raises(ConfigurationError, match="another job has just taken this run folder"),
        locked(tmp_path / "run", COMM),
    ):
        pass
    assert path.read_text() == live and os.listdir(tmp_path / "run") == ["lock"]


def test_it_can_be_given_back_at_once(tmp_path):
    with locked(tmp_path / "run", COMM):
        locks.give_all_back()  # as at SIGTERM
        assert not (tmp_path / "run").exists()
