"""One time step of the model, run as the cycle will run it."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from coupling.common.text import end_of_file
from coupling.simulation.launch import ModelError
from plugin.check.case.files import CaseFiles
from plugin.check.finding import FAIL, OK, Finding

_NAME = "one time step"
_MISSING = re.compile(r"No module named '?([A-Za-z_]\w*)")
_OPTIONAL = "fluidity"  # its own Python package: each run of Fluidity without it says that it is missing


def one_time_step(files: CaseFiles) -> Iterator[Finding]:
    """Findings about one time step of the model: whether it runs and leaves a restart."""
    try:
        seconds = files.trial
    except ModelError as error:
        yield Finding(FAIL, _NAME, str(error), _module_advice(files))
        return
    text = f"the model ran and left a readable restart; {seconds:.1f} s with start-up"
    yield Finding(OK, _NAME, text)


def _module_advice(files: CaseFiles) -> str:
    """What to do where the model's logs say that a Python module is missing, as of a case's own functions; else ""."""
    case = files.case
    logs = [end_of_file(path) for path in sorted((files.scratch / "trial").glob("*")) if path.is_file()]
    names = dict.fromkeys(name for text in logs for name in _MISSING.findall(text) if name != _OPTIONAL)
    if not names:
        return ""
    name = next(iter(names))
    folder = next((place for place in _places(case.model.start.parent) if _has_module(place, name)), None)
    given = case.model.environment.get("PYTHONPATH")
    paths = os.pathsep.join(filter(None, [str(folder) if folder else "FOLDER", given]))
    advice = f"the model runs in folders of its own; model.environment: {{PYTHONPATH: '{paths}'}}"
    where = "" if folder else f", FOLDER being the one that has {name}.py,"
    return f"{advice}{where} lets it import {name}"


def _places(start: Path) -> Iterator[Path]:
    """Where a case's own modules may be: beside the options and above, here, and where Python looks."""
    yield start.resolve()
    yield from start.resolve().parents[:2]
    yield Path.cwd()
    yield from (Path(path).resolve() for path in sys.path if path)


def _has_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()
