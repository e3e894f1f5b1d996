"""Run a main function as one job over MPI ranks: one message, one exit code, no rank left behind."""

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from mpi4py import MPI

from coupling.common.files import FileError
from coupling.common.locks import give_all_back
from coupling.geometry.mesh import MeshError
from coupling.simulation.launch import ModelError
from da.minimisation.minimise import MinimisationError
from da.observation.observations import ObservationsError
from models.training.errors import TrainingError
from plugin.case.configuration import ConfigurationError
from plugin.case.gates import GateError
from plugin.readings import ReadingsError
from plugin.run.ledger import LedgerError
from plugin.run.output import NO_READER, drop_unread, prepare_streams, show

BAD_INPUT = 2
MODEL_FAILED = 3
ANALYSIS_FAILED = 4
STOPPED = 128 + signal.SIGTERM

# OSError covers unwritable folders and full disks
_CODES = (
    ((ModelError,), MODEL_FAILED),
    ((MinimisationError, GateError, TrainingError), ANALYSIS_FAILED),
    ((ConfigurationError, FileError, LedgerError, MeshError, ObservationsError, ReadingsError, OSError), BAD_INPUT),
)
_PATIENCE = 5.0  # seconds for the other ranks to come to the same end


def read_words(parser: argparse.ArgumentParser, argv: Sequence[str], comm: MPI.Comm) -> argparse.Namespace:
    """Parse a command line on every rank; only rank 0 complains or helps, before any of them ends. Collective.

    Returns
    -------
    the parser's namespace; as always with argparse a wrong word is a SystemExit
    """
    with contextlib.ExitStack() as quiet:
        if comm.rank != 0:
            quiet.enter_context(contextlib.redirect_stderr(io.StringIO()))
            quiet.enter_context(contextlib.redirect_stdout(io.StringIO()))
        try:
            return parser.parse_args(argv)
        finally:
            comm.Barrier()


def run_job(main: Callable[[], int | None], comm: MPI.Comm) -> NoReturn:
    """Call `main()`; end the process with its exit code, or with that of the error it raised.

    An error that all ranks raise is printed once, by rank 0. One that only some raise would leave the
    others waiting for ever: it is printed by the rank that has it, and the whole job is ended. SIGTERM ends this
    process at once with the code STOPPED, as if it were killed: what is on the disk can be gone on from at any moment.
    If whoever reads the output has gone, as with `| head`, the job ends in silence with the code NO_READER.
    """
    prepare_streams()
    try:
        with _ended_by_sigterm(comm):
            code = main() or 0
            if sys.stdout is not None:
                sys.stdout.flush()
    except Exception as error:
        code, text = _code_and_text(error)
        if comm.rank == 0:  # before the others may end the job by their exit codes
            _complain(text)
        if comm.size > 1 and not _everyone_is_here(comm):
            if comm.rank != 0:
                _complain(text)
            comm.Abort(code)
    finally:
        drop_unread()
    sys.exit(code)


def _complain(text):
    if text:
        with contextlib.suppress(BrokenPipeError):
            show(text, sys.stderr)


@contextlib.contextmanager
def _ended_by_sigterm(comm):
    """SIGTERM, by which schedulers and mpirun end a job, gives all locks back and ends the process in this block.

    A thread of its own does that: Python calls a handler between two steps of the main thread, which may be waiting
    in MPI for a rank that SIGTERM has ended already.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield
        return

    rank = comm.rank

    def stop():
        while number := os.read(arrived, 1):
            if number[0] == signal.SIGTERM:
                try:
                    if rank == 0:
                        os.write(2, b"stopped by SIGTERM; what is finished is kept\n")
                    give_all_back()
                finally:
                    os._exit(STOPPED)
        os.close(arrived)

    arrived, write = os.pipe()
    os.set_blocking(write, False)
    threading.Thread(target=stop, daemon=True, name="SIGTERM").start()
    earlier = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    # where the main thread can call a handler, it goes no further: a model that SIGTERM has ended, too, is no failure
    before = signal.signal(signal.SIGTERM, lambda number, frame: threading.Event().wait())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        signal.set_wakeup_fd(earlier)
        os.close(write)  # which ends the thread


def _code_and_text(error):
    if isinstance(error, BrokenPipeError):  # whoever reads has gone and wants to hear no more
        return NO_READER, ""
    for kinds, code in _CODES:
        if isinstance(error, kinds):
            return code, f"error: {error}"
    return 1, "".join(traceback.format_exception(error))


def _everyone_is_here(comm):
    request = comm.Ibarrier()
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if request.Test():
            return True
        time.sleep(0.01)
    return False
