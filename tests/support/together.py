"""Python programs that begin a piece of work at the same moment, to see what they do to each other."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cycle_case import ROOT, environment

_BEGIN = """
import os, sys, time
def begin():
    open(os.path.join({folder!r}, str(os.getpid())), "x").close()
    while not os.path.exists({go!r}):
        time.sleep(0.0005)
"""


class Ended:
    """How a program ended: exit code and what it wrote."""

    def __init__(self, code, said):
        self.code, self.said = code, said

    def __repr__(self):
        return f"exit code {self.code}\n{self.said}"


def together(*programs, timeout=120):
    """Run some Python texts at once; each calls `begin()`, which returns when all have come to it. List of Ended.

    A text is the whole program but for the definition of `begin`.
    """
    with tempfile.TemporaryDirectory() as folder:
        go = Path(folder) / "go"
        text = _BEGIN.format(folder=folder, go=str(go))
        given = environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", text + program], cwd=ROOT, env=given,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for program in programs
        ]  # fmt: skip
        end = time.monotonic() + timeout
        while len(list(Path(folder).iterdir())) < len(started) and time.monotonic() < end:
            if any(process.poll() for process in started):
                break
            time.sleep(0.005)
        go.touch()
        try:
            said = [process.communicate(timeout=max(1.0, end - time.monotonic()))[0] for process in started]
        finally:
            for process in started:
                process.kill()
        return [Ended(process.returncode, text) for process, text in zip(started, said, strict=True)]
