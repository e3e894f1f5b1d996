"""Which times a case has, and in how many pieces it is."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from coupling.common.files import FileError


def time_folders(pieces: Sequence[Path]) -> list[str]:
    """Names of the time folders that all pieces have, in the order of their times [s].

    As OpenFOAM does it, each folder whose name is a number is a time: 1e2, too.

    Raises
    ------
    FileError
        if two names are the same time
    """
    common: set[str] | None = None
    for piece in pieces:
        names = {path.name for path in piece.iterdir() if path.is_dir() and _time(path.name) is not None}
        common = names if common is None else common & names
    times = sorted(common or (), key=lambda name: (float(name), name))
    for one, other in zip(times, times[1:], strict=False):
        if float(one) == float(other):
            raise FileError(f"{pieces[0]}: {one} and {other} are one time; OpenFOAM may take either: remove one")
    return times


def pieces_of(case: Path) -> tuple[Path, ...]:
    """The folders with mesh and times: processor0, processor1 …, or the case itself.

    Raises
    ------
    FileError
        if it is no case, a processor is missing, or files are collated
    """
    if not case.is_dir():
        raise FileError(f"{case}: there is no such folder; expected a case of OpenFOAM")
    numbers = []
    for path in case.iterdir():
        if re.fullmatch(r"processors\d+(_.*)?", path.name):
            raise FileError(f"{path}: collated files are not read here; write them by -fileHandler uncollated")
        if path.is_dir() and (match := re.fullmatch(r"processor(\d+)", path.name)):
            numbers.append(int(match[1]))
    if sorted(numbers) != list(range(len(numbers))):
        raise FileError(f"{case}: has processor folders {sorted(numbers)}, expected 0 … {len(numbers) - 1}")
    return tuple(case / f"processor{k}" for k in range(len(numbers))) or (case,)


def _time(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in name else None
