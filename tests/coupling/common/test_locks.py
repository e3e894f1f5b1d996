"""One job at a time makes a file: the others wait for it, or say so."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
from mpi4py import MPI
from together import together

from coupling.common.locks import InUseError, give_all_back, sole_writer

COMM = MPI.COMM_SELF
JOBS = 4
# the work of a job that takes what is there, or makes it
JOB = """
import time
from pathlib import Path
from mpi4py import MPI
from coupling.common.files import whole_file
from coupling.common.locks import InUseError, sole_writer
path = Path({path!r})
begin()
try:
    with sole_writer(path, MPI.COMM_SELF, wait={wait}, say=print):
        if path.exists():
            print("taken")
        else:
            time.sleep(0.1)
            with whole_file(path, replace=False) as beside:
                beside.write_text("made")
            print("made")
    assert path.read_text() == "made"
except InUseError as error:
    print("refused", error)
"""


def words(ended):
    """The last line's first word of each."""
    return sorted(of.said.splitlines()[-1].split()[0] for of in ended)


def killed_with(path):
    """A process that was killed while it had the lock of a file."""
    code = f"""
import os, signal
from mpi4py import MPI
from coupling.common.locks import sole_writer
with sole_writer({str(path)!r}, MPI.COMM_SELF):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL


def on_another_host(lock):
    """Make a lock one of another host's; returns it."""
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "host": "node17"}))
    return lock


@pytest.mark.parametrize("repetition", range(3))
def test_of_jobs_that_need_one_file_one_makes_it_and_the_others_take_it(tmp_path, repetition):
    ended = together(*JOBS * [JOB.format(path=str(tmp_path / "a.h5"), wait=60)])
    assert [of.code for of in ended] == JOBS * [0], ended
    assert words(ended) == ["made"] + (JOBS - 1) * ["taken"], ended
    assert os.listdir(tmp_path) == ["a.h5"]


def test_jobs_that_do_not_wait_say_who_is_at_work(tmp_path):
    ended = together(*JOBS * [JOB.format(path=str(tmp_path / "a.h5"), wait=0)])
    assert [of.code for of in ended] == JOBS * [0], ended
    assert words(ended).count("made") == 1 and set(words(ended)) <= {"made", "refused", "taken"}, ended
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("repetition", range(3))
def test_of_jobs_that_take_over_from_a_killed_one_one_makes_the_file(tmp_path, repetition):
    killed_with(tmp_path / "a.h5")
    assert os.listdir(tmp_path) == [".a.h5.lock"]
    ended = together(*JOBS * [JOB.format(path=str(tmp_path / "a.h5"), wait=60)])
    assert words(ended) == ["made"] + (JOBS - 1) * ["taken"], ended
    assert sum("taken over" in of.said for of in ended) == 1, ended
    assert os.listdir(tmp_path) == ["a.h5"]


def test_another_job_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "a.h5"
    with (
        sole_writer(path, COMM),
        pytest.raises(InUseError, match=rf"\.a\.h5\.lock: .*/a\.h5 is in use \(process {os.getpid()} on .*; wait for"),
        sole_writer(path, COMM),
    ):
        pass


def test_one_that_waits_says_so_and_gives_up_where_it_cannot_see_the_other(tmp_path):
    path, said = tmp_path / "a.h5", []
    killed_with(path)
    on_another_host(tmp_path / ".a.h5.lock")
    with pytest.raises(InUseError), sole_writer(path, COMM, wait=0.5, say=said.append):
        pass
    assert len(said) == 1 and said[0].startswith("waiting for another job: ") and "is in use" in said[0]


def test_a_lock_of_another_host_is_not_taken_over(tmp_path):
    path = tmp_path / "a.h5"
    killed_with(path)
    lock = on_another_host(tmp_path / ".a.h5.lock")
    with (
        pytest.raises(InUseError, match="on node17, since .* if it does not, remove the file"),
        sole_writer(path, COMM),
    ):
        pass
    assert lock.exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / ".a.h5.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InUseError, match="is a link"), sole_writer(tmp_path / "a.h5", COMM):
        pass
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_a_folder_made_for_the_lock_goes_if_nothing_is_in_it(tmp_path):
    with sole_writer(tmp_path / "new/a.h5", COMM):
        assert os.listdir(tmp_path / "new") == [".a.h5.lock"]
    assert os.listdir(tmp_path) == []


def test_locks_can_be_given_back_at_once(tmp_path):
    with sole_writer(tmp_path / "a.h5", COMM), sole_writer(tmp_path / "b.h5", COMM):
        give_all_back()  # as at SIGTERM
        assert os.listdir(tmp_path) == []


def test_without_links_a_lock_still_keeps_others_out(tmp_path, monkeypatch):
    def refused(*words, **how):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "a.h5"
    with sole_writer(path, COMM), pytest.raises(InUseError, match="is in use"), sole_writer(path, COMM):
        pass
    assert os.listdir(tmp_path) == []


def test_all_ranks_are_refused_together(mpirun, tmp_path):
    code = f"""
from mpi4py import MPI
from coupling.common.locks import InUseError, sole_writer
comm = MPI.COMM_WORLD
try:
    with sole_writer({str(tmp_path / "a.h5")!r}, comm, wait=0.5):
        print("wrote")
except InUseError as error:
    assert "is in use" in str(error)
    print("refused")
"""
    lock = tmp_path / ".a.h5.lock"
    with sole_writer(tmp_path / "a.h5", COMM):
        of_ours = lock.read_text()
        on_another_host(lock)
        said = mpirun(2, "-c", code).stdout  # what two ranks print may run together
        assert said.count("refused") == 2 and "wrote" not in said
        lock.write_text(of_ours)
    assert mpirun(2, "-c", code).stdout.split() == ["wrote", "wrote"]
