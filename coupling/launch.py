"""Start another program and wait for it, also from inside an MPI job.

An MPI program that is started by a rank of another MPI job inherits variables that make it believe
it belongs to that job. They are taken away here. The job's other ranks wait asleep, because a
spinning barrier would take the processors that the program needs.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

_JOB_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "ORTE_", "HYDRA_", "MPI_LOCAL", "MPIR_")
# what a person sets, not the job
_KEPT = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")


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
    timeout : s; the program and all its children are killed after it
    environment : {name: value} added to the clean environment
    log : name of the file in `folder` that keeps what the launcher prints

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
    with open(os.path.join(folder, log), "ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that a kill reaches the launcher's children too
        )
        try:
            code, timed_out = process.wait(timeout), False
        except subprocess.TimeoutExpired:
            code, timed_out = _kill(process), True
        except BaseException:
            _kill(process)
            raise
    return Ended(code, time.monotonic() - began, timed_out)


def _kill(process):
    for sent, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            pass
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    return process.returncode


def wait_asleep(comm, pause=0.02):
    """A barrier that sleeps instead of spinning. Collective."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(pause)
