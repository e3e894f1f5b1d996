"""Parameters of a run: numbers in a case's dictionaries, by the path of their entry.

    constant/transportProperties:nu
    system/controlDict:functions/tracer/fvOptions/kerb/injectionRateSuSp/T[0]
    TIME/U:boundaryField/inflow/uniformValue[1]

Before the colon stands the file, where TIME means the folder of the start's time (of each processor's, too), after it
the names of the dictionaries and the entry. Of a value with several numbers, [k] takes the k-th, from 0.

Numbers in time take the place of a whole value, as a table of OpenFOAM's: `table ((0 4.2) (30 4.5))`.
"""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from coupling.common.files import FileError
from coupling.openfoam.dictionary import Dictionary, Entry, Scanner, packed, read_dictionary, replaced
from coupling.openfoam.mesh import find_file
from coupling.simulation.parameters import Series

_PATH = re.compile(r"(?P<file>[^:]+):(?P<entry>[^\[\]]+)(\[(?P<index>\d+)\])?")


def number_at(case: Path, time_name: str, option: str) -> float:
    """The number that a path means.

    Raises
    ------
    FileError
        if there is no such file, entry or number
    """
    path = _files(case, time_name, option)[0]
    data, start, end = _place(path, option)
    return float(data[start:end])


def series_at(case: Path, time_name: str, option: str) -> Series | None:
    """The table of numbers in time that a path means; None where another value is there, which one may replace.

    Raises
    ------
    FileError
        if there is no such file or entry, or the path means one number of several
    """
    path = _files(case, time_name, option)[0]
    dictionary, entry = _entry(path, option, whole=True)
    word, *_ = dictionary.text_of(entry).split() or [""]
    found = [float(dictionary.data[a:b]) for a, b in _numbers(path, dictionary, entry)]
    found = found[len(found) % 2 :]  # OpenFOAM writes the number of rows before them
    return Series(tuple(found[::2]), tuple(found[1::2])) if word == "table" else None


def set_numbers(case: Path, time_name: str, options: Mapping[str, float | Series]) -> None:
    """Replace numbers in a case's files, all other bytes left alone.

    Raises
    ------
    FileError
        if there is no such file, entry or number, or a value is not finite
    """
    for option, value in options.items():
        finite = (*value.times, *value.values) if isinstance(value, Series) else (value,)
        if not all(map(math.isfinite, finite)):
            raise FileError(f"{case}: parameter {option!r} is not finite, so it is not written")
        for path in _files(case, time_name, option):
            if isinstance(value, Series):
                dictionary, entry = _entry(path, option, whole=True)
                data, start, end = dictionary.data, entry.start, entry.end
                rows = " ".join(f"({t!r} {x!r})" for t, x in zip(value.times, value.values, strict=True))
                text = f"table ({rows})"
            else:
                data, start, end = _place(path, option)
                text = repr(float(value))
            path.write_bytes(packed(replaced(data, [(start, end, text.encode())]), path))


def _files(case: Path, time_name: str, option: str) -> list[Path]:
    match = _PATH.fullmatch(option)
    if match is None:
        raise FileError(f"{case}: parameter {option!r} is no FILE:entry/entry or FILE:entry[number] of a dictionary")
    name = match["file"]
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise FileError(f"{case}: parameter {option!r} leads out of the case")
    if not name.startswith("TIME/"):
        folders, inside = [case], name
    else:
        cut = sorted(case.glob("processor[0-9]*"))
        folders, inside = [piece / time_name for piece in cut or [case]], name.removeprefix("TIME/")
    files = [find_file(folder, inside) for folder in folders]
    if None in files:
        raise FileError(f"{case}: has no file {name}, which parameter {option!r} names")
    return [path for path in files if path is not None]


def _entry(path: Path, option: str, whole: bool = False) -> tuple[Dictionary, Entry]:
    match = _PATH.fullmatch(option)
    assert match is not None
    if whole and match["index"] is not None:
        raise FileError(
            f"{path}: parameter {option!r} means one number, and a table in time takes the place of the whole entry: "
            f"leave [{match['index']}] out"
        )
    dictionary = read_dictionary(path)
    entry = dictionary.find(*match["entry"].split("/"))
    if entry is None or entry.children is not None:
        near = difflib.get_close_matches(match["entry"], list(_paths(dictionary.entries)), n=1, cutoff=0.5)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise FileError(
            f"{path}: has no entry {match['entry']!r} with a value, which parameter {option!r} names{advice}"
        )
    return dictionary, entry


def _numbers(path: Path, dictionary: Dictionary, entry: Entry) -> list[tuple[int, int]]:
    """Where the numbers of a value are."""
    scanner = Scanner(path, dictionary.data, entry.start, entry.end)
    return [(a, b) for a, b in scanner.words() if _is_number(dictionary.data[a:b])]


def _place(path: Path, option: str) -> tuple[bytes, int, int]:
    match = _PATH.fullmatch(option)
    assert match is not None
    dictionary, entry = _entry(path, option)
    numbers = _numbers(path, dictionary, entry)
    index = 0 if match["index"] is None else int(match["index"])
    if (match["index"] is None and len(numbers) != 1) or index >= len(numbers):
        raise FileError(
            f"{path}: entry {match['entry']!r} has {len(numbers)} numbers; expected that which parameter {option!r} "
            "names, by [0], [1] … where there are several"
        )
    return dictionary.data, *numbers[index]


def _paths(entries: Sequence[Entry], above: str = "") -> Iterator[str]:
    """The paths of all entries with a value."""
    for entry in entries:
        path = f"{above}{entry.key}"
        if entry.children is not None:
            yield from _paths(entry.children, f"{path}/")
        else:
            yield path


def _is_number(word: bytes) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
