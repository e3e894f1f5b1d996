"""One job at a time in a run folder: RUN/lock tells who has it.

The file appears with its content, by a link, and only where there is none: that holds on NFS and Lustre too, where
advisory locks (flock) may reach no further than the node. It is removed when the job ends, but a job may be killed: a
lock of a process that is gone is taken over. That can be seen on the process' own host only, or where Slurm has put
the same job into its queue again; what another host left behind is for a person to judge.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import sync
from plugin.case.configuration import ConfigurationError

_held: dict[Path, bool] = {}  # {lock: whether its folder was made for it}


@contextmanager
def locked(folder: Path, comm: MPI.Comm, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Have a run folder, made if it is not there, for the time of the block. Collective.

    Parameters
    ----------
    folder : Path
    comm : MPI communicator
    say : function of a text, told if a lock is taken over

    Raises
    ------
    ConfigurationError
        on every rank, if another job has it, or may have it
    """
    taken_over = on_rank_0(lambda: _take(folder), comm)
    if taken_over:
        say(taken_over)
    try:
        yield
    finally:
        if comm.rank == 0:
            give_back()


def give_back() -> None:
    """Remove what this process has locked. Not collective."""
    while _held:
        path, made = _held.popitem()
        path.unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # if something is in it, it stays
                path.parent.rmdir()


def _take(folder):
    """Lock a folder; returns what is to be said of it, if anything."""
    made = not folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"run: {folder} cannot be made a folder: {error.strerror}; choose another") from None
    path, said = folder / "lock", None
    holder = _read(path)
    if holder is not None:
        said = _judge(holder, path)
        _remove(path, holder)
    beside = path.with_name(f".lock.{os.getpid()}.partial")
    try:
        beside.write_text(json.dumps(_ourselves()), encoding="utf-8")
        sync(beside)
        os.link(beside, path)
    except FileExistsError:
        raise ConfigurationError(f"{path}: another job has just taken this run folder") from None
    finally:
        beside.unlink(missing_ok=True)
    _held[path] = made
    return said


def _remove(path, holder):
    """Take away the lock of a holder that is gone."""
    aside = path.with_name(f".stale-lock.{os.getpid()}.partial")
    with suppress(FileNotFoundError):
        os.rename(path, aside)  # of several who try, one gets it
        if _read(aside) != holder:  # another was quicker, and this is its lock
            os.rename(aside, path)
            raise ConfigurationError(f"{path}: another job has just taken this run folder")
        aside.unlink()


def _read(path):
    """Who holds a lock, or None."""
    try:
        holder = json.loads(path.read_bytes())
        return {name: holder[name] for name in _ourselves()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{path}: cannot be understood; remove it if no job is at work in this folder"
        ) from None


def _ourselves():
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": _began(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "slurm": [os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", "0")],
    }


def _judge(holder, path):
    """What is to be said where a lock can be taken over; else a ConfigurationError."""
    told = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    job, count = holder["slurm"]
    ours = _ourselves()
    if job is not None and job == ours["slurm"][0] and count != ours["slurm"][1]:
        return f"this job was put into the queue again; its lock of the run folder ({told}) is taken over"
    if holder["host"] != ours["host"]:
        raise ConfigurationError(
            f"{path}: this run folder is in use ({told}); whether that process still runs cannot be seen from "
            f"{ours['host']}: if it does not, remove the file"
        )
    if _began(holder["process"]) == holder["began"]:
        raise ConfigurationError(f"{path}: this run folder is in use ({told}); wait for it, or end it")
    return f"the job that had the run folder is gone ({told}); its lock is taken over"


def _began(process):
    """When a process began, in the system's ticks, which tells it from a later one of its number; None if it is gone."""
    try:
        state, *numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(numbers[18])
