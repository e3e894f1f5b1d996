"""Readings from the detectors of a Fluidity run: `NAME.detectors`, as from a twin's truth.

The file begins with an XML header that names the columns (counted from 1): time, and for each
detector its position and the values of fields there, vectors over several columns. Fields of several
material phases have the phase in their names, as in the options: `Dust::Tracer`. The rows follow as
text, or as raw numbers in `NAME.detectors.dat` where the header says `format="binary"`. Detectors that
drift have their place in every row.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from coupling.vtk.xml import xml_root
from da.observation.observations import Observations
from plugin.readings.common import NO_CHOICE, Choice, ReadingsError, joined
from plugin.readings.names import clean_name

_TIME, _POSITION = "ElapsedTime", "position"
_HEADER_END = b"</header>"
_REALS = {4: "f4", 8: "f8"}
_MOST_COLUMNS = 2**31  # as Fluidity counts them


def read_detectors(path: str | Path, choice: Choice = NO_CHOICE) -> Observations:
    """Read a Fluidity detector series.

    Parameters
    ----------
    path : NAME.detectors
    choice : Choice; its errors are needed, since the file has none. The names of fields are its variables, of
        vectors with the component: Tracer, Velocity.x

    Returns
    -------
    Observations; stations are the detectors' names. Values that are not finite are left out

    Raises
    ------
    ReadingsError
        on a header or rows that do not fit each other, or if no wanted variable is there
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReadingsError(f"{path}: cannot be read: {error}") from None
    header, fields = _header(path, content)
    n_columns = max(f["column"] + f["components"] - 1 for f in fields)
    rows = _rows(path, content, header, n_columns)
    time = rows[:, _column_of(path, fields, _TIME) - 1]
    places = {f["name"]: f for f in fields if f["statistic"] == _POSITION}
    parts = [
        part
        for f in fields
        if f["statistic"] in places
        for part in _series(path, f, places[f["statistic"]], time, rows, choice)
    ]
    if not parts:
        has = sorted({f["name"] for f in fields if f["statistic"] in places})
        raise ReadingsError(f"{path}: no detector has a wanted variable; found {has}, expected {choice.variables}")
    return joined(parts)


def _header(path, content):
    """(constants by name, list of fields) of the XML header."""
    end = content.find(_HEADER_END)
    if end < 0:
        raise ReadingsError(f"{path}, line 1: no XML header; expected one that ends in </header>, as Fluidity writes")
    try:
        root = xml_root(content[: end + len(_HEADER_END)])
        constants = {c.get("name"): c.get("value") for c in root.iter("constant")}
        fields = [
            {
                "name": f.attrib["name"],
                "phase": f.get("material_phase", ""),
                "statistic": f.get("statistic", ""),
                "column": int(f.attrib["column"]),
                "components": int(f.get("components", 1)),
            }
            for f in root.iter("field")
        ]
    except (KeyError, ValueError) as error:
        raise ReadingsError(f"{path}: the XML header cannot be understood: {error}") from None
    several = len({f["phase"] for f in fields} - {""}) > 1
    for f in fields:
        if several and f["phase"]:
            f["name"] = f"{f['phase']}::{f['name']}"
    bad = [f for f in fields if not (0 < f["column"] < _MOST_COLUMNS and 0 < f["components"] <= _most_components(f))]
    if bad or not fields:
        raise ReadingsError(
            f"{path}: header names {bad[0] if bad else 'no field'}, expected columns counted from 1, and at "
            "most three components of a position, nine of a field"
        )
    counts = Counter((f["name"], f["statistic"]) for f in fields)
    (name, statistic), most = counts.most_common(1)[0]
    if most > 1:
        raise ReadingsError(f"{path}: header names {name!r} of {statistic!r} {most} times, expected once")
    return constants, fields


def _most_components(field):
    return 3 if field["statistic"] == _POSITION else 9


def _rows(path, content, constants, n_columns):
    """(T, n_columns) float64."""
    if constants.get("format", "").strip() == "binary":
        return _binary_rows(path, constants, n_columns)
    head, _, body = content.partition(_HEADER_END)
    first, rows = head.count(b"\n") + 1, []
    for number, line in enumerate(body.decode("ascii", "replace").splitlines(), start=first):
        words = line.split()
        if not words:
            continue
        if len(words) != n_columns:
            raise ReadingsError(f"{path}, line {number}: {len(words)} columns, expected {n_columns} like the header")
        rows.append([_number(word, f"{path}, line {number}, column {k + 1}") for k, word in enumerate(words)])
    return np.array(rows, dtype=np.float64).reshape(-1, n_columns)


def _number(word, where):
    try:
        # Fortran leaves the letter out of exponents of three digits: 0.1-100
        return float(re.sub(r"(?<=[\d.])([+-]\d{3})$", r"e\1", word))
    except ValueError:
        raise ReadingsError(f"{where}: found {word!r}, expected a number") from None


def _binary_rows(path, constants, n_columns):
    data, size = path.with_name(path.name + ".dat"), constants.get("real_size", "")
    if not size.strip().isdigit() or int(size) not in _REALS:
        raise ReadingsError(f"{path}: binary with real_size {size!r}, expected 4 or 8")
    try:
        numbers = np.frombuffer(data.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise ReadingsError(f"{data}: the rows of {path.name} cannot be read: {error}") from None
    row = int(size) * n_columns
    if len(numbers) % row:
        raise ReadingsError(
            f"{data}: {len(numbers)} bytes, expected whole rows of {n_columns} numbers, {row} bytes each"
        )
    return numbers.view(_REALS[int(size)]).astype(np.float64).reshape(-1, n_columns)


def _column_of(path, fields, name):
    for f in fields:
        if f["name"] == name:
            return f["column"]
    raise ReadingsError(f"{path}: the header has no {name!r}, expected Fluidity's time [s]")


def chosen_name(variable: str, phase: str, choice: Choice) -> str:
    """The case's name of a variable; a file with one phase's detectors may be of a simulation with several."""
    name = choice.names.get(variable, variable)
    with_phase = f"{phase}::{variable}"
    return with_phase if phase and not choice.wants(name) and choice.wants(with_phase) else name


def _series(path, of, place, time, rows, choice):
    """Observations' arrays of a field at a detector, one part for each wanted component."""
    position = np.zeros((len(rows), 3))
    first = place["column"] - 1
    position[:, : place["components"]] = rows[:, first : first + place["components"]]
    for k in range(of["components"]):
        variable = of["name"] if of["components"] == 1 else f"{of['name']}.{'xyz'[k] if of['components'] <= 3 else k}"
        variable = chosen_name(variable, of["phase"], choice)
        if not choice.wants(variable):
            continue
        value = rows[:, of["column"] - 1 + k]
        kept = np.isfinite(value) & np.isfinite(position).all(axis=1)
        n = int(kept.sum())
        yield {
            "time": time[kept],
            "position": position[kept],
            "variable": np.full(n, variable),
            "value": value[kept],
            "error": np.full(n, choice.error_of(variable, str(path))),
            "station": np.full(n, clean_name(of["statistic"], str(path))),
            "instrument": np.full(n, ""),
        }
