"""One job at a time: a lock file says which process of which host has a folder, or writes a file.

The lock file appears with its content, by a hard link, and only where there is none. That holds on NFS and Lustre too,
where advisory locks (flock, fcntl) may reach no further than the node. On file systems without hard links it is made by
O_EXCL instead. It is removed when the job ends, but a job may be killed: the lock of a process that is gone is taken
over. Whether a process is gone can be seen on its own host only, or where Slurm has put the same job into its queue
again; what another host left behind is for a person to judge, and the message says which file to remove.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mpi4py import MPI

from coupling.common.files import NO_LINKS, FileError, hidden_name, sync, unused_name
from coupling.common.processes import began, host_name
from coupling.common.waiting import wait_asleep
from coupling.common.watchdog import alive

_LOOK = 0.2  # s between two looks at another job's lock
_UNREADABLE = 1.0  # s that a lock may be without its whole content, where it was not made by a link

_held: dict[Path, tuple[int, bool]] = {}  # {lock: (the process that took it, whether its folder was made for it)}


class InUseError(FileError):
    """Another job has what was to be locked, or may have it; the message says which, and what to do.

    running : whether it is seen to be at work, on this host
    """

    running = False


class _Running(InUseError):
    running = True


class _JustTaken(InUseError):
    """Another job was quicker by a moment."""


def take(path: Path, what: str, say: Callable[[str], None]) -> None:
    """Make a lock file, and its folder if there is none. Not collective.

    Parameters
    ----------
    path : the lock file
    what : what it stands for, as in "this run folder"
    say : function of a text, called if the lock of a job that is gone is taken away

    Raises
    ------
    InUseError
        if another job has it, or may have it
    OSError
        if the file or its folder cannot be made
    """
    made = not path.parent.is_dir()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if (holder := _read(path)) is not None:
            gone = _judge(holder, path, what)
            _remove(path, holder, what)
            say(gone)
        _create(path, what)
    except BaseException:
        if made:
            with suppress(OSError):  # if something is in it, it stays
                path.parent.rmdir()
        raise
    _held[path] = os.getpid(), made


def give_back(path: Path) -> None:
    """Remove a lock that this process has, and its folder if it was made for it and is empty. Not collective."""
    process, made = _held.pop(path, (None, False))
    if process != os.getpid():  # a fork has not taken what its parent has
        return
    path.unlink(missing_ok=True)
    if made:
        with suppress(OSError):
            path.parent.rmdir()


def give_all_back() -> None:
    """Remove all locks that this process has, as before a sudden end. Not collective."""
    for path in list(_held):
        give_back(path)


@contextmanager
def sole_writer(
    path: str | Path, comm: MPI.Comm, wait: float = 0.0, say: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Be the only job that makes the file or folder `path` for the time of the block. Collective.

    It says nothing of whether `path` is there: look at it within the block, for another job may have made it while this
    one waited. The lock is `.NAME.lock` beside it.

    Parameters
    ----------
    path : what the block writes
    comm : MPI communicator; ranks wait asleep
    wait : 0 refuses at once if another job has it; else its end is waited for, as long as it is seen to be at work, and
        [s] where that cannot be seen, as on another host
    say : function of a text, called on rank 0 when it waits, and if it takes over a lock of a job that is gone

    Raises
    ------
    InUseError
        on every rank, if another job has the lock, and after `wait` still has it
    OSError
        on every rank, if the lock cannot be made
    """
    path = Path(path)
    lock, problem = path.with_name(hidden_name(path, ".lock")), None
    if comm.rank == 0:
        try:
            _take_in_time(lock, str(path), wait, say)
        except (InUseError, OSError) as error:
            problem = error
    wait_asleep(comm)
    problem = comm.bcast(problem)
    if problem is not None:
        raise problem
    try:
        yield
    finally:
        if comm.rank == 0:
            give_back(lock)


def _take_in_time(lock, what, wait, say):
    end, waiting = time.monotonic() + wait, False
    while True:
        try:
            take(lock, what, say)
            return
        except InUseError as error:
            alive()
            if wait and error.running:  # it will come to its end
                end = time.monotonic() + wait
            if time.monotonic() >= end:
                raise
            if not waiting and not isinstance(error, _JustTaken):
                say(f"waiting for another job: {error}")
                waiting = True
            time.sleep(_LOOK)


def _create(path, what):
    beside = path.with_name(unused_name(path))
    try:
        beside.write_text(json.dumps(_ourselves()), encoding="utf-8")
        sync(beside)
        try:
            os.link(beside, path)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with open(path, "x", encoding="utf-8") as lock:
                json.dump(_ourselves(), lock)
    except FileExistsError:
        # over NFS the answer to a link that was made may be lost, and the second asking fails
        if not beside.exists() or beside.stat().st_nlink != 2:
            raise _JustTaken(f"{path}: another job has just taken {what}; wait for it") from None
    finally:
        beside.unlink(missing_ok=True)


def _remove(path, holder, what):
    """Take away the lock of a holder that is gone; _JustTaken if another has been quicker."""
    with suppress(FileNotFoundError), open(path, "r+b") as lock:
        with suppress(OSError):  # a file system without advisory locks: then two may try at the same moment
            fcntl.flock(lock, fcntl.LOCK_EX)
        # of several who try, one gets on at a time, and the file that it looks at may have been taken away meanwhile
        if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)) and _read(path) == holder:
            path.unlink()
            return
    raise _JustTaken(f"{path}: another job has just taken {what}; wait for it")


def _read(path: Path) -> dict[str, Any] | None:
    """Who holds a lock, or None."""
    end = time.monotonic() + _UNREADABLE
    while True:
        try:
            if path.is_symlink():
                raise InUseError(f"{path}: is a link, expected a lock file; remove it")
            holder = json.loads(path.read_bytes())
            return {name: holder[name] for name in _ourselves()}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if isinstance(error, InUseError):
                raise
            if time.monotonic() >= end:
                raise InUseError(
                    f"{path}: cannot be understood; remove it if no job is at work in this folder"
                ) from None
        time.sleep(_LOOK)


def _ourselves() -> dict[str, Any]:
    return {
        "host": host_name(),
        "process": os.getpid(),
        "began": began(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "slurm": [os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", "0")],
    }


def _judge(holder: Mapping[str, Any], path: Path, what: str) -> str:
    """What is to be said where a lock can be taken over; else an InUseError."""
    who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    job, count = holder["slurm"]
    ours = _ourselves()
    if job is not None and job == ours["slurm"][0] and count != ours["slurm"][1]:
        return f"this job was put into the queue again; its lock of {what} ({who}) is taken over"
    if holder["host"] != ours["host"]:
        raise InUseError(
            f"{path}: {what} is in use ({who}); whether that process still runs cannot be seen from "
            f"{ours['host']}: if it does not, remove the file"
        )
    if began(holder["process"]) == holder["began"]:
        raise _Running(f"{path}: {what} is in use ({who}); wait for it, or end it")
    return f"the job that had {what} is gone ({who}); its lock is taken over"
