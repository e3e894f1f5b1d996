"""What a run keeps of its case file, to see at a resume that it is the same.

Where files lie is no setting: a run folder may be moved or copied, alone or with all that its case names.
"""

import filecmp
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coupling.common.files import matching
from plugin.case.configuration import Case, ConfigurationError


def settings_of(case: Case) -> dict:
    """A case's settings as JSON holds them."""
    return json.loads(case.model_dump_json(by_alias=True))


def kept_settings(path: Path) -> dict:
    """What a run has kept of its case file, as JSON holds it. Not collective.

    Raises
    ------
    ConfigurationError
        if the file is not what was written
    """
    try:
        settings = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is not what was written ({error}); restore it, or start a new run") from None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path}: is not what was written, but a {type(settings).__name__}; restore it")
    return settings


def relocated(earlier: dict[str, Any], case: Case) -> dict[str, Any]:
    """Earlier settings with each path that leads to the same file as the case's written as in the case. Not collective.

    Two paths lead to the same file if they do so now, if they are the same seen from their run folders, if the earlier
    file has gone and the name is the same, or if both have the same name and content.

    Parameters
    ----------
    earlier : as `kept_settings`
    case : the case now
    """
    folders = Path(str(earlier.get("run", case.run))), case.run
    return {**_relocated(earlier, case.model_dump(by_alias=True), folders), "run": str(case.run)}


def first_difference(now: Mapping, earlier: Mapping) -> str | None:
    """Name of the first section that is not as it was; None if all are."""
    return next((name for name in now if now[name] != earlier.get(name)), None)


def _relocated(earlier: Any, now: Any, folders: tuple[Path, Path]) -> Any:
    """A setting as JSON holds it, its paths as those of the case's value where they lead to the same files."""
    if isinstance(now, Mapping) and isinstance(earlier, dict):
        return {name: _relocated(value, now.get(name), folders) for name, value in earlier.items()}
    if isinstance(now, list | tuple) and isinstance(earlier, list) and len(now) == len(earlier):
        return [_relocated(value, other, folders) for value, other in zip(earlier, now, strict=True)]
    if isinstance(earlier, str) and isinstance(now, Path):
        return str(now) if _same_file(Path(earlier), now, *folders) else earlier
    if isinstance(earlier, str) and isinstance(now, str):  # a program, or a search path
        pairs = list(zip(earlier.split(os.pathsep), now.split(os.pathsep), strict=False))
        as_long = earlier.count(os.pathsep) == now.count(os.pathsep)
        if as_long and all(a == b or _same_place(a, b, folders) for a, b in pairs):
            return now
    return earlier


def _same_place(earlier: str, now: str, folders: tuple[Path, Path]) -> bool:
    absolute = os.path.isabs(earlier) and os.path.isabs(now)
    return absolute and _same_file(Path(earlier), Path(now), *folders)


def _same_file(earlier: Path, now: Path, earlier_run: Path, run: Path) -> bool:
    if os.path.realpath(earlier) == os.path.realpath(now):
        return True
    if os.path.relpath(earlier, earlier_run) == os.path.relpath(now, run):
        return True
    if earlier.name != now.name:
        return False
    gone = not os.path.lexists(earlier) and not matching(earlier)
    return gone or _same_content(earlier, now)


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes, or two folders files of the same names and sizes."""
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    return one.is_dir() and other.is_dir() and _listing(one) == _listing(other)


def _listing(folder: Path) -> list[tuple[Path, int]]:
    return sorted((path.relative_to(folder), path.stat().st_size) for path in folder.rglob("*") if path.is_file())
