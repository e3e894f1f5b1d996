"""Lists of numbers in OpenFOAM's files: found, read, and written in place of others.

    nonuniform List<vector> 2 ((1 2 3) (4 5 6))        ascii
    nonuniform List<vector> 2 (…48 bytes…)             binary
    nonuniform List<scalar> 5{0.3}                     five of the same
    nonuniform 0()                                     none, as a patch without faces has

Numbers are float64 and, of labels, int32 or int64; in a binary file they are little-endian.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coupling.common.files import FileError

COMPONENTS = {"scalar": 1, "vector": 3, "sphericalTensor": 1, "symmTensor": 6, "tensor": 9}
_COUNT = re.compile(rb"\s*(\d+)\s*")
_END_OF_ROWS = re.compile(rb"\)\s*\)")


@dataclass(frozen=True)
class ValueList:
    """A list of numbers within a file's bytes.

    kind : scalar, vector, symmTensor, tensor, sphericalTensor or label
    count : number of its elements
    start, end : where it lies, from its count to its closing bracket
    first, last : where its numbers lie
    form : "binary", "ascii", or "same" for one element that stands for all
    """

    kind: str
    count: int
    start: int
    end: int
    first: int
    last: int
    form: str
    label: int = 4


def find_list(path: Path, data: bytes, position: int, kind: str, binary: bool, label: int) -> ValueList | None:
    """The list of numbers that begins at a position with its count; None where the kind has no numbers.

    Raises
    ------
    FileError
        if it is cut
    """
    size = {"label": label}.get(kind, 8 * COMPONENTS.get(kind, 0))
    count = _COUNT.match(data, position)
    if size == 0 or count is None:
        return None
    n, after = int(count[1]), count.end()
    start = count.start(1)
    bracket = data[after : after + 1]
    if bracket == b"{":
        last = data.find(b"}", after)
        first, form = after + 1, "same"
    elif bracket != b"(":
        if n == 0:  # `nonuniform List<scalar> 0;`
            return ValueList(kind, 0, start, count.end(1), after, after, "ascii", label)
        last, first, form = -1, after, "ascii"
    elif binary and n:
        first, form = after + 1, "binary"
        last = first + n * size
        if data[last : last + 1] != b")":
            last = -1
    else:
        first, form = after + 1, "ascii"
        rows = COMPONENTS.get(kind, 1) > 1 and n > 0
        closing = _END_OF_ROWS.search(data, first) if rows else None
        last = (closing.end() - 1 if closing else -1) if rows else data.find(b")", first)
    if last < 0:
        raise FileError(f"{path}: a list of {n} {kind}s begins at byte {start} and does not end; is the file cut?")
    return ValueList(kind, n, start, last + 1, first, last, form, label)


def values_of(path: Path, data: bytes, found: ValueList) -> np.ndarray:
    """(count,) or (count, k) numbers of a list; labels are int64.

    Raises
    ------
    FileError
        if it holds another number of values than it says, or something that is no number
    """
    k = COMPONENTS.get(found.kind, 1)
    inside = data[found.first : found.last]
    if found.form == "binary":
        kind = f"<i{found.label}" if found.kind == "label" else "<f8"
        values = np.frombuffer(inside, kind).astype(np.int64 if found.kind == "label" else np.float64)
    else:
        try:
            values = np.array(words_of(inside, k), np.int64 if found.kind == "label" else np.float64)
        except ValueError as error:
            raise FileError(f"{path}: the list at byte {found.start} holds what is no number: {error}") from None
        if found.form == "same":
            values = np.tile(values, found.count)
    if values.size != found.count * k:
        raise FileError(
            f"{path}: the list at byte {found.start} says {found.count} {found.kind}s and has {values.size / k:g}"
        )
    return values if k == 1 else values.reshape(found.count, k)


def words_of(data: bytes, k: int) -> list[bytes]:
    """The words of an ascii value of elements of k numbers, without the brackets around each."""
    # of single numbers brackets are few, and taking them out is cheaper than putting blanks there
    return (data.translate(None, b"()") if k == 1 else data.replace(b"(", b" ").replace(b")", b" ")).split()


def written(values: np.ndarray, kind: str, binary: bool) -> bytes:
    """`nonuniform List<kind> N (…)` of some values, with all their digits."""
    values = np.ascontiguousarray(values, np.float64)
    head = f"nonuniform List<{kind}> \n{len(values)}\n(".encode()
    if len(values) == 0:
        return f"nonuniform List<{kind}> 0()".encode()
    if binary:
        return head + values.astype("<f8").tobytes() + b")"
    if values.ndim == 1:
        return head + b"\n" + "\n".join(map(repr, values.tolist())).encode() + b"\n)\n"
    rows = ("(" + " ".join(map(repr, row)) + ")" for row in values.tolist())
    return head + b"\n" + "\n".join(rows).encode() + b"\n)\n"
