"""Files and folders that appear whole or not at all."""

import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.faults import reached
from coupling.common.processes import began, host_in_names, own_start

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)  # of a file system without hard links
_LONGEST, _CUT = 150, 30  # bytes of a name that is used whole, letters of one that is cut
_UNFINISHED = re.compile(
    r"\..*\.(?P<host>[A-Za-z0-9-]+)\.(?P<process>\d+)\.(?P<began>\d+)-[0-9a-f]{8}\.partial(\.\w+)?"
)


class FileError(ValueError):
    """A file that is missing, broken or not what was expected; the message names it."""


def sync(path: str | Path) -> None:
    """Force a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """An OSError of this block names the file, also where the failed system call did not, as with a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def hidden_name(path: Path, ending: str) -> str:
    """A name for a file beside `path` that belongs to it: hidden, and short enough where the name is long."""
    return f".{_short(path.name)}{ending}"


def unused_name(path: Path) -> str:
    """A name that nobody else uses, for a file beside `path`; it holds host and process, and `path`'s suffix.

    .STEM.HOST.PROCESS.BEGAN-RANDOM.partial.SUFFIX, where BEGAN distinguishes the process from a later one of its number
    """
    owner = f"{host_in_names()}.{os.getpid()}.{own_start()}-{secrets.token_hex(4)}"
    return f".{_short(path.stem)}.{owner}.partial{path.suffix}"


def _short(name):
    """A name, cut where what is added to it might make it too long for the file system."""
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    return f"{name[:_CUT]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


@contextmanager
def whole_file(path: str | Path, replace: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes `path`'s place when the block succeeds.

    The suffix is the same, because writers choose their format by it; the name is one that no other process uses. On
    an exception the unfinished file is removed and an older `path` remains. What killed writers of `path` left on this
    host is removed first.

    Parameters
    ----------
    path : the file
    replace : False if `path` must not be there, also not by somebody who has made it meanwhile

    Raises
    ------
    FileExistsError
        if `path` is there at the end of the block and must not be replaced
    OSError
        as the file system raises it; it names `path`
    """
    path = Path(path)
    beside = _beside(path)
    try:
        with naming(path):
            yield beside
            _move(beside, path, replace)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_shared_file(path: str | Path, comm: MPI.Comm, replace: bool = True) -> Iterator[Path]:
    """`whole_file` for a file that all ranks write to as one. Collective.

    An older `path` remains unless the block succeeds on every rank. After an exception nothing here waits for the
    other ranks: they may not come.
    """
    path = Path(path)
    beside = on_rank_0(lambda: _beside(path), comm)
    try:
        with naming(path):
            yield beside
            comm.Barrier()
            on_rank_0(lambda: _move(beside, path, replace), comm)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _beside(path):
    """A path beside another to write to, once what killed writers of that left is gone."""
    for left in _unfinished(path.parent, path):
        left.unlink(missing_ok=True)
    return path.with_name(unused_name(path))


def _move(beside, path, replace):
    sync(beside)
    reached("file written")
    if replace:
        os.replace(beside, path)
    else:
        move_new(beside, path)
    reached("file in place")
    sync(path.parent)


def move_new(beside: Path, path: Path) -> None:
    """Give a finished file its name, which must not be in use: FileExistsError."""
    try:
        os.link(beside, path)
    except FileExistsError:
        # over NFS the answer to a link that was made may be lost, and the second asking fails
        if not os.path.samestat(os.stat(beside), os.stat(path)):
            raise FileExistsError(
                f"{path} is there already, made by another job meanwhile; remove it or choose another name"
            ) from None
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(f"{path} is there already; remove it or choose another name") from None
        os.replace(beside, path)  # no links here: between the look and this another may still come
        return
    beside.unlink()


@contextmanager
def whole_folder(path: str | Path, comm: MPI.Comm) -> Iterator[Path]:
    """Yield a folder that all ranks fill; it takes the name `path` when all are done. Collective.

    What killed writers of `path` left on this host is removed first, and this folder after an exception, without
    waiting for the other ranks. A finished `path` is never overwritten: that is a FileExistsError, also if another job
    has made it meanwhile.
    """
    path = Path(path)
    beside = on_rank_0(lambda: _make_empty(path), comm)
    try:
        yield beside
        comm.Barrier()
        on_rank_0(lambda: _move_folder(beside, path), comm)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _make_empty(path):
    if path.exists():
        raise FileExistsError(f"{path} is there already; remove it or choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _unfinished(path.parent, path):
        shutil.rmtree(left, ignore_errors=True)
    beside = path.with_name(unused_name(path))
    beside.mkdir()
    return beside


def _move_folder(beside, path):
    for folder, _, names in os.walk(beside):
        for name in names:
            sync(os.path.join(folder, name))
        sync(folder)
    reached("folder written")
    try:
        os.rename(beside, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise FileExistsError(
            f"{path} is there already, made by another job meanwhile; remove it or choose another folder"
        ) from None
    reached("folder in place")
    sync(path.parent)


def remove_leftovers(folder: str | Path) -> None:
    """Remove unfinished files directly in a folder that writers of this host left which were killed. Not collective.

    Those of processes that are still there stay, and those of other hosts, which may be at work.
    """
    for path in _unfinished(Path(folder)):
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)


def _unfinished(folder, of=None):
    """Unfinished files and folders whose writers are gone: those for the name `of`, or all."""
    here = host_in_names()
    begin = None if of is None else f".{_short(of.stem)}."
    for path in folder.glob(".*.partial*"):
        match = _UNFINISHED.fullmatch(path.name)
        if match is None or match["host"] != here or (of is not None and path.name[: match.start("host")] != begin):
            continue
        if began(int(match["process"])) != int(match["began"]):
            yield path


def refuse_links(folder: str | Path, depth: int) -> None:
    """FileError if a folder holds a link, directly or in folders so many levels below. Not collective.

    It is for folders whose files we change or remove: behind a link lie the files of somebody else.
    """
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_symlink():
            raise FileError(
                f"{entry.path}: is a link to {os.readlink(entry.path)}; no link is followed here: put the file or "
                "folder itself in its place, or remove the link"
            )
        if depth > 0 and entry.is_dir(follow_symlinks=False):
            refuse_links(entry.path, depth - 1)


def matching(pattern: str | Path) -> list[Path]:
    """The paths that a pattern such as `runs/*/a_*.vtu` means, sorted; a path that is there means itself.

    Folders at its beginning that have just this name are no pattern, as in `/data/[2020] NO*/a_*.vtu`.
    """
    folder, rest = Path(), list(Path(pattern).parts)
    while rest and os.path.lexists(folder / rest[0]):
        folder /= rest.pop(0)
    return sorted(map(Path, glob.glob(os.path.join(glob.escape(str(folder)), *rest)))) if rest else [folder]


def leads_out(folder: str | Path, name: str | Path) -> bool:
    """Whether a name given in a file leads out of its folder, by itself or through a link."""
    path, folder = Path(name), Path(folder)
    by_name = path.is_absolute() or ".." in path.parts
    return by_name or not (folder / path).resolve().is_relative_to(folder.resolve())
