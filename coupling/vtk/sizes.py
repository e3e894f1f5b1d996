"""Checks of the sizes that a VTU file declares, before VTK relies on them.

VTK allocates what the header declares; if that is more memory than there is, it ends the process. So each array's size
must follow from the numbers of points and cells, and its bytes must lie within the file.
"""

import base64
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree

from coupling.common.headers import cut_short
from coupling.vtk.xml import XmlError, check_prolog

_MOST = 1100  # bytes that a compressed byte of zlib's can become; the limit for LZ4 and LZMA, too
_BLOCK = 1 << 26  # bytes; a block that writers use is far smaller, and memory for one is allocated
_DIGITS = 40  # and blanks, of a number; Python refuses to read very many
_WORDS = {"UInt32": "I", "UInt64": "Q"}
_TYPES = {
    "Float32": 4, "Float64": 8, "Int8": 1, "UInt8": 1, "Int16": 2, "UInt16": 2, "Int32": 4, "UInt32": 4, "Int64": 8,
    "UInt64": 8, "String": 1, "Bit": 1,
}  # fmt: skip
_NEEDED: dict[str, list[tuple[str, str | None]]] = {
    "NumberOfPoints": [("Points", None)],
    "NumberOfCells": [("Cells", "connectivity"), ("Cells", "offsets"), ("Cells", "types")],
}
_BY_CELL = ("offsets", "types")  # of <Cells>, one number for each


class SizeError(ValueError):
    """A file whose sizes contradict each other or the file; the message does not name it."""


@dataclass(frozen=True)
class _Stored:
    """How a file stores its arrays.

    data : the whole file
    begin : first byte of the appended data, None where there are none
    base64 : whether these are text
    word : struct format of a size
    compressed : whether sizes of blocks stand before an array
    """

    data: mmap.mmap
    begin: int | None
    base64: bool
    word: str
    compressed: bool

    def words(self, offset: int, count: int) -> tuple[int, ...]:
        """The first sizes of an array at an offset of the appended data."""
        size = struct.calcsize(self.word) * count
        if self.begin is None:
            raise SizeError("has no appended data")
        first = self.begin + offset
        if offset < 0 or first + size > len(self.data):
            raise SizeError(f"names data at byte {offset}, beyond its end; was it written whole?")
        if not self.base64:
            return struct.unpack(self.word[0] + self.word[1:] * count, self.data[first : first + size])
        return self.decoded(self.data[first : first + -(-size // 3) * 4], count)

    def decoded(self, text: bytes, count: int) -> tuple[int, ...]:
        """The first sizes of an array in base64."""
        size = struct.calcsize(self.word) * count
        try:
            decoded = base64.b64decode(text[: -(-size // 3) * 4], validate=True)
        except ValueError:
            raise SizeError("has data that are no base64") from None
        if len(decoded) < size:
            raise SizeError("has an array that is cut off")
        return struct.unpack(self.word[0] + self.word[1:] * count, decoded[:size])


def check_sizes(path: str | Path) -> None:
    """Check the sizes that a VTU file declares; nothing large is read.

    Raises
    ------
    SizeError
        if it contradicts itself or cannot be in a file of its size, is not XML, or declares XML entities
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise SizeError("is empty")
        file.seek(0)
        try:
            check_prolog(file)
        except XmlError as error:
            raise SizeError(str(error)) from None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check(data)


def _check(data):
    end = data.find(b"<AppendedData")
    head = data[: end if end >= 0 else len(data)]
    if b"\0" in head:  # in UTF-16 what is looked for below would not be met
        raise SizeError("has a header that is not text in UTF-8; write it with that encoding")
    parser = etree.XMLPullParser(
        events=("end",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True
    )
    try:
        # what is open at the appended data is closed here
        parser.feed(head + (b"</VTKFile>" if end >= 0 else b""))
        elements = [element for _, element in parser.read_events()]
    except etree.XMLSyntaxError as error:
        raise SizeError(f"not well-formed XML: {error}") from None
    root = elements[-1].getroottree().getroot() if elements else None
    if root is None or root.tag != "VTKFile":
        raise SizeError('is no VTK file; expected <VTKFile type="UnstructuredGrid"> to begin it')
    stored = _stored(data, root, end)
    total = sum(_check_array(array, stored) for array in root.iter("DataArray", "Array"))
    if total > len(data):
        raise SizeError(f"has arrays that are said to take {total} bytes of it, but it has {len(data)}")
    for piece in root.iter("Piece"):
        _check_whole(piece)


def _check_whole(piece):
    """What there are points or cells of must have the arrays that say which."""
    for count, needed in _NEEDED.items():
        for section, name in needed if _number(piece, count) else ():
            arrays = piece.findall(f"{section}/DataArray")
            if not any(name is None or array.get("Name") == name for array in arrays):
                raise SizeError(f"has {piece.get(count)} for {count}, but no array {name or section} in <{section}>")


def _stored(data, root, end):
    word = _WORDS.get(root.get("header_type", "UInt32"))
    if word is None:
        raise SizeError(f"has sizes of type {root.get('header_type')!r}, expected UInt32 or UInt64")
    order = ">" if root.get("byte_order") == "BigEndian" else "<"
    begin, encoded = None, False
    if end >= 0:
        close = data.find(b">", end)
        begin = data.find(b"_", close) + 1
        if close < 0 or not begin:
            raise SizeError("has no data after <AppendedData>")
        try:
            # as in VTK, what is not said to be raw is base64
            encoded = etree.fromstring(data[end:close] + b"/>").get("encoding") != "raw"
        except etree.XMLSyntaxError as error:
            raise SizeError(f"not well-formed XML in <AppendedData>: {error}") from None
    return _Stored(data, begin, encoded, order + word, root.get("compressor") is not None)


def _number(element, key, otherwise=None):
    text = element.get(key, otherwise)
    if text is None or not text.strip().isdecimal() or len(text) > _DIGITS:
        raise SizeError(f"has {key}={cut_short(repr(text))}, expected a whole number")
    return int(text)


def _check_array(array, stored):
    """Check one array; returns how many bytes of the file it takes."""
    name, kind = cut_short(array.get("Name", "without a name")), array.get("type")
    if kind not in _TYPES:
        raise SizeError(f"array {name} of type {cut_short(repr(kind))}, expected one of {', '.join(_TYPES)}")
    rows = _rows(array)
    expected = None if rows is None else rows * _number(array, "NumberOfComponents", "1") * _TYPES[kind]
    text = (array.text or "").strip()
    # as in VTK: with an offset it is appended, whatever else is said
    encoding = "appended" if array.get("offset") is not None else array.get("format", "ascii")
    if encoding == "appended" and array.get("offset") is None:
        raise SizeError(f"array {name} is said to be appended, but no offset says where")
    if encoding not in ("appended", "binary"):
        if expected is not None and expected > len(text) * _TYPES[kind]:
            raise SizeError(f"array {name} of {expected} bytes, its text cannot hold them")
        return len(text)
    if encoding == "appended" and stored.begin is None:
        raise SizeError(f"array {name} lies in appended data, which are missing")
    size, held = _sizes(array, text.encode() if encoding == "binary" else None, stored)
    n_available = len(text) if encoding == "binary" else len(stored.data)
    if held > n_available or size > _MOST * held + 64:
        raise SizeError(
            f"array {name} claims {size} bytes, stored in {held}, of {n_available} there are; was it written whole?"
        )
    if expected is not None and kind not in ("String", "Bit") and size != expected:
        raise SizeError(f"array {name} has {size} bytes, {expected} are expected for its number of points or cells")
    return held


def _rows(array):
    """How many rows an array has by what is said elsewhere, or None where that is nothing."""
    section, piece = array.getparent(), next(array.iterancestors("Piece"), None)
    if piece is None:  # of <FieldData>
        return None if array.get("NumberOfTuples") is None else _number(array, "NumberOfTuples")
    if section.tag == "Cells" and array.get("Name") not in _BY_CELL:
        return None  # it follows from other arrays: that of connectivity and polyhedra's faces from their offsets
    return _number(piece, "NumberOfPoints" if section.tag in ("PointData", "Points") else "NumberOfCells")


def _sizes(array, text, stored):
    """(bytes of an array, bytes that hold them in the file), from its first words."""

    def words(count):
        return stored.words(_number(array, "offset"), count) if text is None else stored.decoded(text, count)

    if not stored.compressed:
        return words(1) * 2
    blocks, block, last = words(3) if words(1)[0] else (0, 0, 0)
    if blocks > len(stored.data):
        raise SizeError(f"array {array.get('Name')} claims {blocks} blocks, the file has {len(stored.data)} bytes")
    held = int(np.sum(words(3 + blocks)[3:], dtype=object)) if blocks else 0
    size = (blocks - 1) * block + last if last else blocks * block
    if block > max(size, _BLOCK):
        raise SizeError(f"array {array.get('Name')} claims blocks of {block} bytes, but is {size} bytes itself")
    return size, held
