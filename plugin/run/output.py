"""What a command shows: on a terminal that a person watches, in a file, or in a pipe whose reader may go.

Under Open MPI's mpirun each rank has a terminal of its own, wherever the words go to in the end; there mpirun's own
standard output counts.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn, TextIO

from rich.console import Console

from coupling.common.text import printable

NO_READER = 128 + signal.SIGPIPE  # exit code where whoever reads the output has gone, as with `| head`
_WIDTH = 160  # of tables that do not go to a terminal


class _OurConsole(Console):
    """A console that does not end the process by itself where its reader has gone."""

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        raise  # the BrokenPipeError that is being handled


def console() -> Console:
    """A console for standard output; escape codes and a live display on a terminal only, whatever the environment."""
    shown = _OurConsole(highlight=False, force_terminal=on_terminal())
    if not shown.is_terminal:
        shown.width = _WIDTH
    return shown


def on_terminal() -> bool:
    """Whether standard output goes to a terminal that a person watches."""
    if sys.stdout is None or not sys.stdout.isatty():
        return False
    if "OMPI_COMM_WORLD_SIZE" not in os.environ:
        return True
    try:
        return os.readlink(f"/proc/{os.getppid()}/fd/1").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:  # another system, or a launcher of another user
        return False


def show(text: str, file: TextIO | None = None) -> None:
    """Print a text, on standard output if no file is given, without what a terminal would obey."""
    print(printable(text), file=file, flush=True)


def prepare_streams() -> None:
    """Let no character, and no reader that has gone, end this process in another way than by an exception.

    A character that the stream's encoding does not have is written as an escape. SIGPIPE is ignored, which PETSc makes
    a sudden end, so that writing raises BrokenPipeError.
    """
    if threading.current_thread() is threading.main_thread():  # only that one may set signals
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_unread() -> None:
    """Let go what cannot be written any more, so that Python does not complain of it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
