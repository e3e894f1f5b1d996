"""Run a program as long as someone holds our standard input open: python -IS guard.py program words …

The process that starts a model may be killed with no time to end it, and the model would continue in the folder of a
run that is resumed, on processors that others use by then. The kernel closes a pipe however its holder ends; this
process waits for that, and then ends the program and all that it started: those of a launcher, those that it left
behind, and those with a session of their own. The kernel hands orphans to this process (a subreaper, Linux), so that
none is lost. What is left behind by a program that ends by itself is ended, too, before this process ends as the
program did, with the same exit code or signal. If this process is killed, the kernel kills the program.

It imports only the standard library, to start at once.
"""

import ctypes
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
_REST = 1.0  # s for what a program left behind to end by itself once it is asked to
_LONGEST = 30.0  # s until processes that cannot be killed, as those that wait for a broken disk, are let be
CANNOT_START = 127
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)


def main(words: list[str]) -> int:
    """Start the program and stay until it and all it started have ended; returns its exit code, or minus a signal's."""
    if os.getsid(0) != os.getpid():
        os.setsid()  # other processes of our session are not ours to end
    control = _process_control()
    control(_SET_CHILD_SUBREAPER, 1)
    try:
        # in a group of its own, so that it can be asked to end without us
        program = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=lambda: control(_SET_PDEATHSIG, int(signal.SIGKILL)),
        )
    except OSError as error:
        print(f"cannot start {words[0]!r}: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    asked = None
    while _is_running(program):
        if asked is None and select.select([0], [], [], _LOOK)[0] and not os.read(0, 1):
            asked = time.monotonic()
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGTERM)
        elif asked is not None:
            if time.monotonic() - asked > _PATIENCE:
                break
            time.sleep(_LOOK)
    _end_all(program)
    return program.returncode if program.returncode is not None else -signal.SIGKILL


def _process_control():
    """prctl(2); a function that does nothing where there is none."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return lambda *words: None
    return lambda option, value: prctl(option, value, 0, 0, 0)


def _is_running(program):
    """Whether the program still runs; takes leave of all children that have ended, orphans among them."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == program.pid:
                program.returncode = os.waitstatus_to_exitcode(ended[1])
    return program.returncode is None


def _end_all(program):
    """End what is left of the program and of all it started."""
    left: set[int] = set()
    patience = _REST if program.returncode is not None else 0.0  # else it was asked already, and waited for
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, _LONGEST)):
        end = time.monotonic() + wait
        asked: set[int] = set()
        while time.monotonic() < end:
            _is_running(program)
            left = _descendants(os.getpid()) | (_session(os.getpid()) - {os.getpid()})
            if not left:
                return
            for pid in left - asked:  # again: one may have started another in the meantime
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
            asked |= left
            time.sleep(_LOOK / 4)
    names = ", ".join(map(str, sorted(left)))
    print(f"cannot end what the program has started: process {names}", file=sys.stderr)


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


def _descendants(ancestor):
    """Process ids of all children of a process, and of theirs."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as stat:
            parent = int(stat.read().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    descendants: set[int] = set()
    new = [ancestor]
    while new:
        new = [child for parent in new for child in children.get(parent, []) if child not in descendants]
        descendants.update(new)
    return descendants


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
