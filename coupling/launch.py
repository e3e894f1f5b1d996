"""Start another program and wait for it, also from inside an MPI job.

An MPI program that is started by a rank of another MPI job inherits variables that make it believe
it belongs to that job. They are taken away here. The job's other ranks wait asleep, because a
spinning barrier would take the processors that the program needs.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_JOB_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "ORTE_", "HYDRA_", "MPI_LOCAL", "MPIR_")
# what a person sets, not the job
_KEPT = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe")

_PATIENCE = 5.0  # s for a program to end by itself once it is asked to


class ModelError(RuntimeError):
    """The model failed or did not do what it was asked; the message says how and where its logs are."""


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    code : exit code; negative is the number of the signal that killed it
    seconds : wall-clock time it took [s]
    timed_out : true if it was stopped by us
    """

    code: int
    seconds: float
    timed_out: bool


def clean_environment(folder, extra=None):
    """The environment for a program that is to run in `folder`, free of our own job's variables.

    OpenMPI's settings for our job go with them, but those that say that the machine is run as root or
    with more processes than cores; others can be put in `extra`, {name: value}.

    Our virtual environment is taken off PATH as well: a Python embedded in the program (Fluidity has
    one) would find our packages there instead of those it was built for, and crash.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not name.startswith(_JOB_VARIABLES)
    }
    if sys.prefix != sys.base_prefix:
        ours = os.path.join(sys.prefix, "bin")
        paths = environment.get("PATH", os.defpath).split(os.pathsep)
        environment["PATH"] = os.pathsep.join(path for path in paths if path != ours)
        environment.pop("VIRTUAL_ENV", None)
    environment["PWD"] = str(folder)  # Fluidity changes to $PWD, whatever its working directory is
    # Fortran error text would be lost when MPI_Abort ends the program before its buffer is full
    environment["GFORTRAN_UNBUFFERED_PRECONNECTED"] = "y"
    environment.update(extra or {})
    return environment


def launch(command, folder, comm, timeout=None, environment=None, log="launch.log"):
    """Run a command in a folder from rank 0 and tell every rank how it ended. Collective.

    Parameters
    ----------
    command : list of words; no shell sees them
    folder : working directory, absolute
    timeout : s; the program and all its children are killed after it; None waits for ever
    environment : {name: value} added to the clean environment
    log : name of the file in `folder` that keeps what the launcher prints

    Returns
    -------
    Ended, the same on every rank; a program that fails or is stopped is no error here

    Raises
    ------
    ModelError
        if the command cannot be started
    """
    ended, problem = None, None
    if comm.rank == 0:
        try:
            ended = _run(command, folder, timeout, clean_environment(folder, environment), log)
        except OSError as error:
            problem = ModelError(f"cannot start {command[0]!r}: {error.strerror}; is it installed and on PATH?")
    wait_asleep(comm)
    ended, problem = comm.bcast((ended, problem))
    if problem is not None:
        raise problem
    return ended


def _run(command, folder, timeout, environment, log):
    began = time.monotonic()
    with open(os.path.join(folder, log), "ab") as output, _sigterm_raises():
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all it starts can be found and killed
        )
        try:
            code, timed_out = process.wait(timeout), False
        except subprocess.TimeoutExpired:
            code, timed_out = _kill(process), True
        except BaseException:
            _kill(process)
            raise
    return Ended(code, time.monotonic() - began, timed_out)


class _Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def _sigterm_raises():
    """SIGTERM raises in this block, so that a program is not left behind; after it SIGTERM does what it did before.

    It is how mpirun and schedulers end us. The program is in a session of its own, where they do not find it.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return

    def stop(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop) or signal.SIG_DFL
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, before)
        os.kill(os.getpid(), signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _kill(process):
    """End a program and all that it started; returns its exit code."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)
    # a launcher may end before what it started, and mpirun gives each rank a process group of its own
    for pid in _session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return process.wait()


def _session(leader):
    """Process ids of all processes in a session."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessLookupError):
            if os.getsid(int(name)) == leader:
                found.append(int(name))
    return found


def wait_asleep(comm, pause=0.02):
    """A barrier that sleeps instead of spinning. Collective."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(pause)
