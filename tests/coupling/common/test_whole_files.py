"""Files and folders appear whole or not at all, also where several processes write the same one."""

import errno
import os
import re
import socket
import subprocess
import sys

import pytest
from mpi4py import MPI
from together import together

from coupling.common.files import remove_leftovers, unused_name, whole_file, whole_folder, whole_shared_file

COMM = MPI.COMM_SELF
WRITERS = 4


def left_by_a_killed_writer(path, how="whole_file(path)"):
    """A partial file or folder of a process that was killed while it wrote."""
    code = f"""
import os, signal
from pathlib import Path
from mpi4py import MPI
from coupling.common.files import *
path = Path({str(path)!r})
with {how} as beside:
    if not beside.is_dir():
        beside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9


def partials(folder):
    return [name for name in os.listdir(folder) if ".partial" in name]


def test_a_file_is_there_once_the_block_is_done_and_an_older_one_until_then(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("old")
    with whole_file(path) as beside:
        assert beside.suffix == ".h5" and beside.parent == tmp_path and beside.name.startswith(".a.")
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.h5"]


def test_after_an_error_the_older_file_stays_and_nothing_else(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.h5"]


def test_a_partial_name_holds_host_and_process_and_is_never_given_twice(tmp_path):
    names = {unused_name(tmp_path / "a.h5") for _ in range(100)}
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    assert len(names) == 100 and all(f".{host}.{os.getpid()}." in name for name in names)


def test_a_long_name_leaves_room_for_what_is_added(tmp_path):
    for path in (tmp_path / f"{240 * 'a'}.h5", tmp_path / f"{120 * 'ü'}.h5"):
        with whole_file(path) as beside:
            beside.write_text("kept")
        assert path.read_text() == "kept"


@pytest.mark.parametrize("how", ["whole_file(path)", "whole_shared_file(path, MPI.COMM_SELF)"])
def test_what_a_killed_writer_left_goes_when_the_next_one_comes(tmp_path, how):
    left_by_a_killed_writer(tmp_path / "a.h5", how)
    left_by_a_killed_writer(tmp_path / "b.h5", how)
    assert len(partials(tmp_path)) == 2
    with whole_file(tmp_path / "a.h5") as beside:
        beside.write_text("kept")
    assert len(partials(tmp_path)) == 1 and partials(tmp_path)[0].startswith(".b.")
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["a.h5"]


def test_what_a_killed_writer_left_of_a_folder_goes_when_the_next_one_comes(tmp_path):
    left_by_a_killed_writer(tmp_path / "a", "whole_folder(path, MPI.COMM_SELF)")
    assert len(partials(tmp_path)) == 1
    with whole_folder(tmp_path / "a", COMM) as beside:
        (beside / "kept").touch()
    assert os.listdir(tmp_path) == ["a"] and os.listdir(tmp_path / "a") == ["kept"]


def test_what_is_being_written_and_what_another_host_left_stay(tmp_path):
    other = tmp_path / ".a.node17.4711.8349201-00112233.partial.h5"
    other.write_text("theirs")
    with whole_file(tmp_path / "a.h5") as ours:
        ours.write_text("first")
        with whole_file(tmp_path / "a.h5") as again:
            again.write_text("second")
        remove_leftovers(tmp_path)
        assert ours.read_text() == "first" and other.read_text() == "theirs"


def test_a_later_process_of_the_same_number_does_not_keep_a_leftover(tmp_path):
    now = unused_name(tmp_path / "a.h5")
    earlier = re.sub(rf"\.{os.getpid()}\.\d+-", f".{os.getpid()}.1-", now)
    assert earlier != now
    (tmp_path / earlier).touch()
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_file_that_came_meanwhile_is_not_replaced_where_it_must_be_new(tmp_path, shared, links, monkeypatch):
    if not links:

        def refused(*words, **how):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "a.h5"

    def new():
        return whole_shared_file(path, COMM, replace=False) if shared else whole_file(path, replace=False)

    with new() as beside:
        beside.write_text("first")
    with pytest.raises(FileExistsError, match=r"a\.h5 is there already"), new() as beside:
        beside.write_text("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.h5"]


def test_a_folder_that_came_meanwhile_is_not_replaced(tmp_path):
    with (
        pytest.raises(FileExistsError, match="is there already, made by another job meanwhile"),
        whole_folder(tmp_path / "a", COMM) as beside,
    ):
        (beside / "ours").touch()
        (tmp_path / "a").mkdir()
        (tmp_path / "a/theirs").touch()
    assert os.listdir(tmp_path) == ["a"] and os.listdir(tmp_path / "a") == ["theirs"]


WRITER = """
from pathlib import Path
from mpi4py import MPI
from coupling.common.files import whole_file, whole_shared_file, whole_folder
path = Path({path!r})
begin()
for _ in range(20):
    with {how} as beside:
        with open(beside, "w") as file:
            for _ in range(1000):
                file.write("{letter}" * 50 + chr(10))
    text = path.read_text()
    assert len(text) == 51_000 and len(set(text)) == 2, (len(text), set(text))
"""


@pytest.mark.parametrize("how", ["whole_file(path)", "whole_shared_file(path, MPI.COMM_SELF)"])
def test_of_processes_that_write_one_file_none_fails_and_no_reader_sees_a_half(tmp_path, how):
    programs = [WRITER.format(path=str(tmp_path / "a.txt"), how=how, letter="abcd"[k]) for k in range(WRITERS)]
    ended = together(*programs)
    assert [of.code for of in ended] == WRITERS * [0], ended
    assert os.listdir(tmp_path) == ["a.txt"]


def test_of_processes_that_make_one_folder_one_does_and_the_others_say_so(tmp_path):
    program = f"""
from pathlib import Path
from mpi4py import MPI
from coupling.common.files import whole_folder
begin()
try:
    with whole_folder(Path({str(tmp_path)!r}) / "a", MPI.COMM_SELF) as folder:
        for k in range(50):
            (folder / str(k)).write_text(str({{number}}))
    print("made")
except FileExistsError as error:
    print("refused", error)
"""
    ended = together(*(program.format(number=k) for k in range(WRITERS)))
    assert [of.code for of in ended] == WRITERS * [0], ended
    said = sorted(of.said.split()[0] for of in ended)
    assert said == ["made"] + (WRITERS - 1) * ["refused"]
    assert os.listdir(tmp_path) == ["a"] and len(os.listdir(tmp_path / "a")) == 50
    assert len({path.read_text() for path in (tmp_path / "a").iterdir()}) == 1


def test_ranks_agree_on_one_partial_name(mpirun, tmp_path):
    code = f"""
from pathlib import Path
from mpi4py import MPI
from coupling.common.files import whole_shared_file
comm = MPI.COMM_WORLD
with whole_shared_file(Path({str(tmp_path)!r}) / "a.bin", comm) as beside:
    file = MPI.File.Open(comm, str(beside), MPI.MODE_CREATE | MPI.MODE_WRONLY)
    file.Write_at_all(comm.rank, bytes([65 + comm.rank]))
    file.Close()
"""
    mpirun(2, "-c", code)
    assert (tmp_path / "a.bin").read_bytes() == b"AB" and os.listdir(tmp_path) == ["a.bin"]
