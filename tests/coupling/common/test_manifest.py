"""A folder's list of its files: a file that has changed is named."""

import re

import pytest
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.common.manifest import check_manifest, write_manifest

COMM = MPI.COMM_SELF


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pieces").mkdir()
    for name in ("restart.flml", "pieces/a_0.vtu", "pieces/a_1.vtu"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, COMM)
    return tmp_path


def test_files_as_they_were_written_pass_and_others_beside_them_do_not_matter(folder):
    (folder / "notes.txt").touch()
    check_manifest(folder, COMM)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "pieces/a_1.vtu").write_text("pieces/a_2.vtu"), "pieces/a_1.vtu: its bytes are not those"),
        (lambda f: (f / "restart.flml").write_text(""), "restart.flml: has 0 bytes, 12 were written"),
        (lambda f: (f / "pieces/a_0.vtu").unlink(), "pieces/a_0.vtu: is missing, and manifest.json names it"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json: is missing, so the files beside it"),
        (lambda f: (f / "manifest.json").write_text('{"files": {"a": 1}}'), "manifest.json: is not the list"),
        (lambda f: (f / "manifest.json").write_bytes(bytes(100)), "manifest.json: is not the list"),
    ],
)
def test_a_changed_file_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(FileError, match=re.escape(f"{folder}/{message}")):
        check_manifest(folder, COMM)


def test_two_ranks_write_the_same_list_and_both_raise(mpirun, folder):
    serial = (folder / "manifest.json").read_text()
    (folder / "manifest.json").unlink()
    code = f"""
from mpi4py import MPI
from coupling.common.manifest import check_manifest, write_manifest
from coupling.common.files import FileError
comm = MPI.COMM_WORLD
write_manifest({str(folder)!r}, comm)
check_manifest({str(folder)!r}, comm)
comm.Barrier()
if comm.rank == 0:
    open({str(folder / "pieces/a_1.vtu")!r}, "a").write("more")
comm.Barrier()
try:
    check_manifest({str(folder)!r}, comm)
except FileError as error:
    assert "a_1.vtu: has 18 bytes, 14 were written" in str(error)
else:
    raise AssertionError(comm.rank)
"""
    mpirun(2, "-c", code)
    assert (folder / "manifest.json").read_text() == serial
