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
from vtkmodules import vtkIOCore

from coupling.common.headers import cut_short
from coupling.geometry.shapes import KNOWN_SHAPES
from coupling.vtk.messages import without_stderr
from coupling.vtk.xml import DocumentTypeError, XmlError, check_prolog

_MOST = 1100  # bytes that a compressed byte of zlib's can become; the limit for LZ4 and LZMA, too
_BLOCK = 1 << 26  # bytes; a block that writers use is far smaller, and memory for one is allocated
_DIGITS = 40  # and blanks, of a number; Python refuses to read very many
_WORDS = {"UInt32": "I", "UInt64": "Q"}
_TYPES = {
    "Float32": 4, "Float64": 8, "Int8": 1, "UInt8": 1, "Int16": 2, "UInt16": 2, "Int32": 4, "UInt32": 4, "Int64": 8,
    "UInt64": 8,
}  # fmt: skip
_NEEDED: dict[str, list[tuple[str, str | None]]] = {
    "NumberOfPoints": [("Points", None)],
    "NumberOfCells": [("Cells", "connectivity"), ("Cells", "offsets"), ("Cells", "types")],
}
_NO_VTK = 'is no VTK file; expected <VTKFile type="UnstructuredGrid"> to begin it'
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
    compressor : name of VTK's class; None where arrays are stored as they are
    """

    data: mmap.mmap
    begin: int | None
    base64: bool
    word: str
    compressor: str | None

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

    def held(self, offset: int, text: bytes | None, first: int, count: int) -> bytes:
        """Bytes of what follows an offset, or of a text in base64."""
        if text is None and not self.base64:
            assert self.begin is not None
            return self.data[self.begin + offset + first : self.begin + offset + first + count]
        group = first // 3
        end = -(-(first + count) // 3)
        if text is None:
            assert self.begin is not None
            encoded = self.data[self.begin + offset + 4 * group : self.begin + offset + 4 * end]
        else:
            encoded = text[4 * group : 4 * end]
        try:
            return base64.b64decode(encoded, validate=True)[first - 3 * group :][:count]
        except ValueError:
            raise SizeError("has data that are no base64") from None

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
        except DocumentTypeError as error:
            raise SizeError(str(error)) from None
        except XmlError as error:
            raise SizeError(f"{_NO_VTK} ({error})") from None
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
        raise SizeError(_NO_VTK)
    stored = _stored(data, root, end)
    pieces = list(root.iter("Piece"))
    for piece in pieces:
        _check_whole(piece)
    sizes = {array: _check_array(array, stored) for array in root.iter("DataArray", "Array")}
    total = sum(held for _, held in sizes.values())
    if total > len(data):
        raise SizeError(f"has arrays that are said to take {total} bytes of it, but it has {len(data)}")
    for piece in pieces:
        _check_nodes(piece, sizes, stored)


def _check_nodes(piece, sizes, stored):
    """VTK takes memory for as many nodes of cells as the last of the offsets says."""
    if not _number(piece, "NumberOfCells"):
        return
    arrays = piece.findall("Cells/DataArray")
    room = min(sizes[a][0] // _TYPES[a.get("type")] for a in arrays if a.get("Name") == "connectivity")
    for array in arrays:
        if array.get("Name") == "offsets":
            last = _last_number(array, sizes[array][0], stored)
            if not 0 <= last <= room:
                raise SizeError(f"has offsets of cells up to {last}, but {room} nodes of cells; was it written whole?")


def _last_number(array, size, stored):
    """The last number of an array that has one or more."""
    kind = np.dtype(array.get("type").lower()).newbyteorder(stored.word[0])
    encoding, text = _encoding(array), (array.text or "").strip().encode()
    if encoding == "ascii":
        try:
            return int(text[-_DIGITS:].split()[-1])
        except ValueError:
            raise SizeError(f"array {array.get('Name')} does not end with a whole number") from None
    offset, text = (0, text) if encoding == "binary" else (_number(array, "offset"), None)
    word = struct.calcsize(stored.word)
    if stored.compressor is None:
        number = stored.held(offset, text, word + size - kind.itemsize, kind.itemsize)
    else:
        number = _last_block(array, offset, text, stored)[-kind.itemsize :]
    if len(number) != kind.itemsize:
        raise SizeError(f"array {array.get('Name')} is cut off")
    return int(np.frombuffer(number, kind)[0])


def _last_block(array, offset, text, stored):
    """The last block of a compressed array as it was before."""
    words = stored.words if text is None else lambda _, count: stored.decoded(text, count)
    blocks, block, last = words(offset, 3)
    packed = words(offset, 3 + blocks)[3:]
    # the sizes, and all blocks together, are texts of their own in base64
    header = struct.calcsize(stored.word) * (3 + blocks)
    if text is not None:
        text = text[-(-header // 3) * 4 :]
    else:
        offset += -(-header // 3) * 4 if stored.base64 else header
    content = stored.held(offset, text, sum(packed[:-1]), packed[-1])
    unpacked = bytearray(last or block)
    compressor = getattr(vtkIOCore, stored.compressor, None)
    if compressor is None or not stored.compressor.endswith("DataCompressor"):
        raise SizeError(f"is compressed by {cut_short(repr(stored.compressor))}, which VTK does not have")
    with without_stderr():
        n_bytes = compressor().Uncompress(content, len(content), unpacked, len(unpacked))
    if n_bytes != len(unpacked):
        raise SizeError(f"array {array.get('Name')} cannot be unpacked; it is damaged")
    return bytes(unpacked)


def _encoding(array):
    """How an array is written. As in VTK, with an offset it is appended, whatever else is said."""
    if array.get("offset") is not None:
        return "appended"
    return "binary" if array.get("format") == "binary" else "ascii"


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
    return _Stored(data, begin, encoded, order + word, root.get("compressor"))


def _number(element, key, otherwise=None):
    text = element.get(key, otherwise)
    if text is None or not text.strip().isdecimal() or len(text) > _DIGITS:
        raise SizeError(f"has {key}={cut_short(repr(text))}, expected a whole number")
    return int(text)


def _check_array(array, stored):
    """Check one array; returns its bytes, of text its letters, and how many bytes of the file they take."""
    name, kind = cut_short(array.get("Name", "without a name")), array.get("type")
    if kind == "String":  # whose number VTK believes, and reads on beyond the end
        raise SizeError(f"array {name} holds texts, which VTK does not read safely; leave it out of the file")
    if kind not in _TYPES:
        raise SizeError(f"array {name} of type {cut_short(repr(kind))}, expected one of {', '.join(_TYPES)}")
    rows = _rows(array)
    expected = None if rows is None else rows * _number(array, "NumberOfComponents", "1") * _TYPES[kind]
    text = (array.text or "").strip()
    encoding = _encoding(array)
    if array.get("format") == "appended" and encoding != "appended":
        raise SizeError(f"array {name} is said to be appended, but no offset says where")
    if encoding == "ascii":
        if expected is not None and expected > len(text) * _TYPES[kind]:
            raise SizeError(f"array {name} of {expected} bytes, its text cannot hold them")
        _check_cells(array, len(text))
        return len(text) * _TYPES[kind], len(text)
    if encoding == "appended" and stored.begin is None:
        raise SizeError(f"array {name} lies in appended data, which are missing")
    size, held = _sizes(array, text.encode() if encoding == "binary" else None, stored)
    n_available = len(text) if encoding == "binary" else len(stored.data)
    if held > n_available or size > _MOST * held + 64:
        raise SizeError(
            f"array {name} claims {size} bytes, stored in {held}, of {n_available} there are; was it written whole?"
        )
    if expected is not None and size != expected:
        raise SizeError(f"array {name} has {size} bytes, {expected} are expected for its number of points or cells")
    _check_cells(array, size)
    return size, held


def _check_cells(array, size):
    """What VTK would read of cells without looking whether it is there."""
    piece = next(array.iterancestors("Piece"), None)
    if piece is None or array.getparent().tag != "Cells" or array.get("Name") in _BY_CELL:
        return
    if array.get("Name") != "connectivity":
        if size:
            raise SizeError(f"cells of VTK types [42], expected {KNOWN_SHAPES}")
    elif not size and _number(piece, "NumberOfCells"):
        raise SizeError("has cells, but its array connectivity is empty; was it written whole?")


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

    if stored.compressor is None:
        return words(1) * 2
    blocks, block, last = words(3) if words(1)[0] else (0, 0, 0)
    if blocks > len(stored.data):
        raise SizeError(f"array {array.get('Name')} claims {blocks} blocks, the file has {len(stored.data)} bytes")
    # VTK divides by it, in numbers of the array's kind
    if blocks and (not block or block % _TYPES[array.get("type")] or last > block):
        raise SizeError(f"array {array.get('Name')} has blocks of {block} bytes and a last one of {last}, damaged")
    held = int(np.sum(words(3 + blocks)[3:], dtype=object)) if blocks else 0
    size = (blocks - 1) * block + last if last else blocks * block
    if block > max(size, _BLOCK):
        raise SizeError(f"array {array.get('Name')} claims blocks of {block} bytes, but is {size} bytes itself")
    return size, held
