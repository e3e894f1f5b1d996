"""Start another program and wait for it, also from inside an MPI job.

An MPI program that is started by a rank of another MPI job inherits variables that make it believe
it belongs to that job. They are removed here. The job's other ranks sleep while they wait, because a
spinning barrier would take the processors that the program needs. A guard (:mod:`coupling.simulation.guard`) ends
the program when we end, in whatever way.
"""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coupling.common import faults
from coupling.common.faults import reached
from coupling.common.links import opened_itself
from coupling.common.waiting import wait_asleep
from coupling.common.watchdog import alive
from coupling.simulation import guard

if TYPE_CHECKING:  # what needs no MPI but an environment should not start it
    from mpi4py import MPI

_JOB_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "ORTE_", "HYDRA_", "MPI_LOCAL", "MPIR_", faults.VARIABLE)
# what a person sets, not the job
_KEPT = (
    "OMPI_ALLOW_RUN_AS_ROOT",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
    "PRTE_ALLOW_RUN_AS_ROOT",  # Open MPI 5
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
    "OMPI_MCA_rmaps_base_oversubscribe",  # Open MPI 4
)
# Open MPI 5 has its own word for more processes than cores, and its mpirun keeps it from the ranks
_MORE_THAN_CORES = ("OMPI_MCA_rmaps_base_oversubscribe", "PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe")


_LOOK = 0.1  # s between two looks at the program


class ModelError(RuntimeError):
    """The model failed or did not do what it was to do; the message says how, and where its logs are."""


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    code : exit code; negative is the number of the signal that killed it
    seconds : wall-clock time it took [s]
    stopped : why it was stopped by us, as in "it was stopped …"; None where it ended by itself
    """

    code: int
    seconds: float
    stopped: str | None


def launcher_words(launcher: Sequence[str], processes: int) -> list[str]:
    """The words of a launcher for so many processes, their number in place of `{n}`."""
    return [word.replace("{n}", str(processes)) for word in launcher]


def clean_environment(folder: str | Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a program that is to run in `folder`, free of our own job's variables.

    OpenMPI's settings for our job are removed, too, except those that allow root or more processes than
    cores; others can be given in `extra`, {name: value}.

    Our virtual environment is taken off PATH as well: a Python embedded in the program (Fluidity has
    one) would find our packages there instead of those it was built for, and crash.
    """
    environment = {
        name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_JOB_VARIABLES)
    }
    allowed, word, value = _MORE_THAN_CORES
    if environment.get(allowed, "0").lower() in ("1", "true", "yes"):
        environment[word] = value
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


def package_environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """{name: value} that a Python program of this package needs beside `clean_environment`: where the package is.

    given : {name: value} to include; its PYTHONPATH, or else that of this process, comes after the package's
    """
    given = dict(given or {})
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [given.get("PYTHONPATH") or os.environ.get("PYTHONPATH")])]
    return {"OMP_NUM_THREADS": "1", **given, "PYTHONPATH": os.pathsep.join(paths)}


def launch(
    command: Sequence[str],
    folder: str | Path,
    comm: "MPI.Comm",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    log: str = "launch.log",
    silence: float | None = None,
) -> Ended:
    """Run a command in a folder from rank 0; every rank gets how it ended. Collective.

    Parameters
    ----------
    command : list of words; no shell sees them
    folder : working directory, absolute
    timeout : s; after it the program and all its children are killed; None for no limit
    environment : {name: value} added to the clean environment
    log : name of the file in `folder` for the launcher's output
    silence : s; the program and all its children are killed once no file in `folder` has changed for so long

    Returns
    -------
    Ended, the same on every rank; a program that fails or is stopped raises nothing

    Raises
    ------
    ModelError
        if the command cannot be started, or removes its folder
    OSError
        if its log cannot be written
    """
    ended, problem = None, None
    if comm.rank == 0:
        try:
            ended = _run(command, Path(folder), clean_environment(folder, environment), log, timeout, silence)
            if not Path(folder).is_dir():
                raise ModelError(f"the program removed the folder that it ran in, {folder}, with all that it wrote")
        except (ModelError, OSError) as error:
            problem = error
    wait_asleep(comm)
    ended, problem = comm.bcast((ended, problem))
    if problem is not None:
        raise problem
    reached("program ended")
    return ended


def _run(command, folder, environment, log, timeout, silence):
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise ModelError(f"cannot start {command[0]!r}: no such program; is it installed and on PATH?")
    began = time.monotonic()
    with open(folder / log, "ab", opener=opened_itself) as output:
        guarded = subprocess.Popen(
            [sys.executable, "-IS", guard.__file__, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,  # what the guard looks at: it is closed when we end
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all it starts can be killed
        )
    assert guarded.stdin is not None
    try:
        stopped = _wait(guarded, folder, timeout, silence)
    finally:
        guarded.stdin.close()
        code = guarded.wait()
    if code == -signal.SIGKILL:  # it may have been the guard itself
        guard.end_session(guarded.pid)
    return Ended(code, time.monotonic() - began, stopped)


def _wait(process, folder, timeout, silence):
    """Wait for a process; returns why it must be stopped, or None once it has ended.

    Each look at it resets the watchdog, so that only this wait has no other limit than the program's own.
    """
    timeout, silence = (math.inf if limit is None else limit for limit in (timeout, silence))
    began = changed = looked = time.monotonic()
    last = None
    while (left := began + timeout - time.monotonic()) > 0:
        alive()
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(left, silence / 10, _LOOK))
            return None
        if time.monotonic() - looked < silence / 10:
            continue
        looked = time.monotonic()
        if (written := _written(folder)) != last:
            last, changed = written, time.monotonic()
        elif time.monotonic() - changed > silence:
            return f"as it had written nothing for {silence:g} s"
    return f"after {timeout:g} s, its time-out"


def _written(folder):
    """What changes when something is written: (number of files, their bytes, time of the last change)."""
    number, size, changed = 0, 0, 0
    for inside, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                status = os.stat(os.path.join(inside, name))
                number, size, changed = number + 1, size + status.st_size, max(changed, status.st_mtime_ns)
    return number, size, changed
