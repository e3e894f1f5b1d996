"""Files and folders that appear whole or not at all."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.faults import reached


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


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes `path`'s place when the block succeeds.

    The suffix is the same, because writers choose their format by it. On an exception the unfinished file
    is removed and an older `path` remains.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with naming(path):
            yield beside
            _move(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_shared_file(path: str | Path, comm: MPI.Comm) -> Iterator[Path]:
    """Yield a path beside `path` that all ranks write to as one file; it takes `path`'s place at the end. Collective.

    Remains of an earlier writer are removed first; an older `path` remains unless the block succeeds on every
    rank. After an exception nothing here waits for the other ranks: they may not come.
    """
    path = Path(path)
    beside = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        on_rank_0(lambda: beside.unlink(missing_ok=True), comm)
        with naming(path):
            yield beside
            comm.Barrier()
            on_rank_0(lambda: _move(beside, path), comm)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _move(beside, path):
    sync(beside)
    reached("file written")
    os.replace(beside, path)
    reached("file in place")
    sync(path.parent)


@contextmanager
def whole_folder(path: str | Path, comm: MPI.Comm) -> Iterator[Path]:
    """Yield a folder that all ranks fill; it takes the name `path` when all are done. Collective.

    An older unfinished folder is removed first, and this one after an exception, without waiting for the other
    ranks. A finished `path` is never overwritten: that is a FileExistsError.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.partial")
    on_rank_0(lambda: _make_empty(beside, path), comm)
    try:
        yield beside
        comm.Barrier()
        on_rank_0(lambda: _move_folder(beside, path), comm)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _make_empty(beside, path):
    if path.exists():
        raise FileExistsError(f"{path} is there already; remove it or choose another folder")
    if beside.exists():
        shutil.rmtree(beside)
    beside.mkdir(parents=True)


def _move_folder(beside, path):
    for folder, _, names in os.walk(beside):
        for name in names:
            sync(os.path.join(folder, name))
        sync(folder)
    reached("folder written")
    os.replace(beside, path)
    reached("folder in place")
    sync(path.parent)


def remove_leftovers(folder: str | Path) -> None:
    """Remove unfinished files directly in a folder that a killed `whole_file` left. Not collective.

    No one else may be writing there.
    """
    for path in Path(folder).glob(".*.partial*"):
        if re.fullmatch(r"\..*\.\d+\.partial(\.\w+)?", path.name):
            path.unlink(missing_ok=True)


def leads_out(folder: str | Path, name: str | Path) -> bool:
    """Whether a name given in a file leads out of its folder, by itself or through a link."""
    path, folder = Path(name), Path(folder)
    by_name = path.is_absolute() or ".." in path.parts
    return by_name or not (folder / path).resolve().is_relative_to(folder.resolve())
