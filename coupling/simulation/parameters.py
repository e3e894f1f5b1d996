"""Numbers that one run of a model gets in place of its start's: the parameters of a member.

Where they go, a driver decides by name: into an option of the model's own files, or into `parameters.json` beside the
start, which the model's working folder has too, and which programs of the user's there can read:

    {"wind_speed": 4.2, "wind_angle": {"times": [0.0, 60.0, 120.0], "values": [0.1, 0.3, 0.2]}}
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coupling.common.files import FileError, whole_file

PARAMETERS = "parameters.json"


@dataclass(frozen=True)
class Series:
    """Values [own unit] at rising times [s]; programs take them to be linear between those times."""

    times: tuple[float, ...]
    values: tuple[float, ...]

    def as_json(self) -> dict[str, list[float]]:
        """As parameters.json has it."""
        return {"times": list(self.times), "values": list(self.values)}


@dataclass(frozen=True)
class Numbers:
    """What a run is to have otherwise.

    options : {path of an option in the model's own notation: value, or Series where the model has tables in time}
    entries : {name in parameters.json: value, or Series}
    """

    options: Mapping[str, float | Series] = field(default_factory=dict)
    entries: Mapping[str, float | Series] = field(default_factory=dict)


def read_entries(path: str | Path) -> dict[str, Any]:
    """All that a parameters.json holds; nothing where there is no such file. FileError if it is no JSON object."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(entries, dict):
        raise FileError(f"{path}: expected names and values in braces, found {type(entries).__name__}")
    return entries


def write_entries(path: str | Path, entries: Mapping[str, float | Series], others: Mapping[str, Any]) -> None:
    """Write a parameters.json, whole or not at all.

    others : what it holds beside them, of the user's own

    FileError if a value is not finite: the model would take it without a word
    """
    written = {**others, **{name: _plain(name, value, path) for name, value in entries.items()}}
    with whole_file(path) as beside:
        Path(beside).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def _plain(name: str, value: float | Series, path: str | Path) -> Any:
    numbers = (*value.times, *value.values) if isinstance(value, Series) else (value,)
    if not all(map(math.isfinite, numbers)):
        raise FileError(f"{path}: parameter {name!r} is not finite, so it is not written")
    return value.as_json() if isinstance(value, Series) else float(value)
