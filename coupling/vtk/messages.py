"""What VTK's readers and writers complain of, as errors instead of lines on a terminal."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vtkmodules.vtkCommonCore import vtkLogger

from coupling.common.files import FileError
from coupling.common.text import without_colours

_OBJECT = re.compile(r"^(ERROR: )?(In .*, line \d+:? )?vtk\w+ \(0x[0-9a-fA-F]+\): ")  # says nothing to users

_lock = threading.Lock()
_n_quiet = 0
_verbosity = vtkLogger.VERBOSITY_OFF


@contextmanager
def errors_as_exceptions(algorithm: Any, path: str | Path, doing: str) -> Iterator[None]:
    """VTK prints its errors and continues; here the first one becomes a FileError.

    algorithm : the vtkAlgorithm that is used in the block
    path : the file it works on
    doing : what it does, for the message
    """
    messages: list[str] = []

    def keep(caller: Any, event: str, text: str = "") -> None:
        messages.append(text)

    keep.CallDataType = "string0"  # type: ignore[attr-defined]  # VTK reads the type of `text` here
    observer = algorithm.AddObserver("ErrorEvent", keep)
    try:
        with without_stderr():
            yield
    finally:
        algorithm.RemoveObserver(observer)
    if messages:
        raise FileError(f"{path}: {doing} failed: {cleaned(messages[0])}")


def cleaned(text: str) -> str:
    """The last line of a message of VTK's, without colours and without the object's class and address."""
    lines = without_colours(text).strip().splitlines()
    return _OBJECT.sub("", lines[-1].strip()) if lines else "VTK does not say why"


@contextmanager
def without_stderr() -> Iterator[None]:
    """Helpers of an algorithm have no observers and write to stderr: not in this block, of all threads' blocks."""
    global _n_quiet, _verbosity
    with _lock:
        if _n_quiet == 0:
            _verbosity = vtkLogger.GetCurrentVerbosityCutoff()
            vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
        _n_quiet += 1
    try:
        yield
    finally:
        with _lock:
            _n_quiet -= 1
            if _n_quiet == 0:
                vtkLogger.SetStderrVerbosity(_verbosity)
