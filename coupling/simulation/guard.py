"""Run a program as long as someone holds our standard input open: python -IS guard.py program words …

The process that starts a model may be killed with no time to end it, and the model would continue in the folder of a
run that is resumed, on processors that others use by then. The kernel closes a pipe however its holder ends; this
process waits for that, and then ends all processes of its session: the program, those of a launcher, and those they
left behind. It ends as the program did, with the same exit code or signal.

It imports only the standard library, to start at once.
"""

import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

_LOOK = 0.02  # s between two looks at the program
_PATIENCE = 5.0  # s for a program to end by itself once it is asked to
CANNOT_START = 127


def main(words: list[str]) -> int:
    """Start the program and stay until it has ended; returns its exit code, negative for a signal's number."""
    if os.getsid(0) != os.getpid():
        os.setsid()  # other processes of our session are not ours to end
    try:
        # in a group of its own, so that it can be asked to end without us
        program = subprocess.Popen(words, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as error:
        print(f"cannot start {words[0]!r}: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    while program.poll() is None:
        if select.select([0], [], [], _LOOK)[0] and not os.read(0, 1):
            _end(program)
    return program.returncode


def _end(program):
    with suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
    end = time.monotonic() + _PATIENCE
    while program.poll() is None and time.monotonic() < end:
        time.sleep(_LOOK)
    end_session(os.getpid())
    program.wait()


def end_session(leader: int) -> None:
    """Kill all processes of a session but its leader."""
    killed: set[int] = set()
    while new := _session(leader) - killed - {leader}:  # again: one may have started another in the meantime
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= new


def _session(leader):
    """Process ids of all processes in a session."""
    pids = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(ProcessLookupError):
            if os.getsid(int(name)) == leader:
                pids.add(int(name))
    return pids


def _end_as(code):
    """End with this exit code, or by its signal."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
        with suppress(OSError):  # SIGKILL has no other action anyway
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    _end_as(main(sys.argv[1:]))
