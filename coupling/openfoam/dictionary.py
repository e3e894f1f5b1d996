"""OpenFOAM's dictionaries: where each entry's value lies in a file's bytes, so that just these can be replaced.

    FoamFile { version 2.0; format binary; class volScalarField; arch "LSB;label=32;scalar=64"; object T; }
    internalField   nonuniform List<scalar> 2 (…16 bytes…);
    boundaryField   { inflow { type fixedValue; value uniform 0; } }

Comments, strings, words with brackets (`div(phi,U)`), code between `#{` and `#}`, and binary lists are passed over as
OpenFOAM does. Nothing is expanded: `$name`, `#include` and `#calc` stay the words that they are.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coupling.common.files import FileError
from coupling.openfoam.lists import ValueList, find_list

_BLANK = re.compile(rb"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_VERBATIM = re.compile(rb"#\{.*?#\}", re.DOTALL)
_MACRO = re.compile(rb"\$\{[^}]*\}")
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![^\s;(){}\[\]\"])")
_PLAIN = re.compile(rb"[^\s;(){}\[\]\"]+")
_LIST = re.compile(rb"List<(\w+)>\Z")
_ENDS = b';{}[]"'
_DEEPEST = 100  # dictionaries within each other; a file that is deeper is broken


@dataclass(frozen=True)
class Entry:
    """One entry of a dictionary.

    key : its keyword, without quotes
    quoted : whether the keyword was a string, which OpenFOAM takes as a pattern
    start, end : where its value lies: of a dictionary what is between the braces, else what is before the semicolon
    children : the entries of a dictionary, in the order of the file; None where the value is none
    lists : the lists of numbers in the value
    begin : where the entry itself begins, with its keyword
    """

    key: str
    quoted: bool
    start: int
    end: int
    children: "tuple[Entry, ...] | None" = None
    lists: tuple[ValueList, ...] = ()
    begin: int = 0

    def child(self, key: str) -> "Entry | None":
        """Of a dictionary the entry with this name; the last of several, as OpenFOAM has it."""
        return last_entry(self.children or (), key)


def last_entry(entries: Sequence[Entry], key: str) -> Entry | None:
    """The last of the entries with this name; patterns are none."""
    return next((entry for entry in reversed(entries) if entry.key == key and not entry.quoted), None)


@dataclass(frozen=True)
class Dictionary:
    """A file's bytes, unpacked, and its entries.

    path : the file, for messages
    data : its bytes
    entries : right in the file, `FoamFile` among them
    binary, label : whether lists are raw bytes, and how many bytes a label has
    """

    path: Path
    data: bytes
    entries: tuple[Entry, ...]
    binary: bool
    label: int

    def find(self, *keys: str) -> Entry | None:
        """The entry with this name, in dictionaries of the names before; the last of several, as OpenFOAM has it."""
        entries: tuple[Entry, ...] | None = self.entries
        found = None
        for key in keys:
            if entries is None:
                return None
            found = last_entry(entries, key)
            if found is None:
                return None
            entries = found.children
        return found

    def text(self, *keys: str) -> str | None:
        """The value of an entry as a text without blanks around it and quotes; None without such an entry."""
        entry = self.find(*keys)
        return None if entry is None or entry.children is not None else self.text_of(entry)

    def text_of(self, entry: Entry) -> str:
        """The value of an entry, without comments."""
        words = Scanner(self.path, self.data, entry.start, entry.end, self.binary, self.label).words()
        return " ".join(self.data[a:b].decode(errors="replace") for a, b in words).strip('"')

    def number(self, *keys: str) -> float | None:
        """The value of an entry that is one number; None without such an entry.

        Raises
        ------
        FileError
            if it is something else, as `$dt` or `#calc`
        """
        text = self.text(*keys)
        if text is None:
            return None
        try:
            return float(text)
        except ValueError:
            raise FileError(
                f"{self.path}: {'/'.join(keys)} is {text!r}, expected a plain number: this plugin expands no macros"
            ) from None


@dataclass
class Scanner:
    """Goes over the words of a file, from `position` to `end`."""

    path: Path
    data: bytes
    position: int
    end: int
    binary: bool = False
    label: int = 4
    lists: list[ValueList] = field(default_factory=list)

    def word(self) -> tuple[int, int] | None:
        """Where the next word lies: a bracket, a semicolon, a string, a number or a name. None at the end."""
        blank = _BLANK.match(self.data, self.position, self.end)
        start = blank.end() if blank else self.position
        if start >= self.end:
            self.position = self.end
            return None
        stop = self._end_of_word(start)
        self.position = stop
        return start, stop

    def words(self) -> Iterator[tuple[int, int]]:
        """All words that are left; a list of numbers is one with the word before it."""
        while (word := self.word()) is not None:
            yield word

    def _end_of_word(self, start: int) -> int:
        for pattern in (_STRING, _VERBATIM, _MACRO, _NUMBER):
            if match := pattern.match(self.data, start, self.end):
                return match.end()
        if self.data[start] in b";(){}[]":
            return start + 1
        if self.data[start] == ord('"') or self.data[start : start + 2] == b"#{":
            raise FileError(f"{self.path}: what begins at byte {start} has no end; is the file cut?")
        depth, stop = 0, start
        while stop < self.end:
            if match := _PLAIN.match(self.data, stop, self.end):
                stop = match.end()
            letter = self.data[stop : stop + 1]
            if letter == b"(":  # a name may have pairs of brackets: div(phi,U)
                depth += 1
            elif letter == b")" and depth:
                depth -= 1
            else:
                break
            stop += 1
        if match := _LIST.search(self.data[start:stop]):
            found = find_list(self.path, self.data, stop, match[1].decode(), self.binary, self.label)
            if found is not None:
                self.lists.append(found)
                return found.end
        return max(stop, start + 1)

    def entries(self, depth: int = 0) -> tuple[Entry, ...]:
        """All entries until a closing brace, which is passed, or the end of the file."""
        if depth > _DEEPEST:
            raise FileError(f"{self.path}: dictionaries lie more than {_DEEPEST} deep; is it a dictionary of OpenFOAM?")
        found: list[Entry] = []
        while (word := self.word()) is not None:
            text = self.data[slice(*word)]
            if text == b"}":
                if depth == 0:
                    raise FileError(f"{self.path}: a brace closes at byte {word[0]} that none has opened")
                return tuple(found)
            if text == b";":
                continue
            if text in (b"(", b")", b"{", b"[", b"]"):
                raise FileError(f"{self.path}: {text.decode()!r} at byte {word[0]}, expected a keyword; is it a list?")
            entry = self._directive(word) if text.startswith(b"#") else self.entry(word, depth)
            found.append(entry)
            if entry.key == "FoamFile" and depth == 0:
                self.take_format(entry)
        if depth:
            raise FileError(f"{self.path}: ends within braces; is the file cut?")
        return tuple(found)

    def entry(self, word: tuple[int, int], depth: int = 0) -> Entry:
        """The entry whose keyword is a word that was just passed."""
        text = self.data[slice(*word)]
        quoted = text.startswith(b'"')
        key = text.decode(errors="replace").strip('"')
        after = self.position
        first = self.word()
        if first is not None and self.data[slice(*first)] == b"{":
            children = self.entries(depth + 1)
            return Entry(key, quoted, first[1], self.position - 1, children, begin=word[0])
        self.position = after
        before, start, level = len(self.lists), None, 0
        while (value := self.word()) is not None:
            text = self.data[slice(*value)]
            start = value[0] if start is None else start
            if text == b";" and level == 0:
                return Entry(key, quoted, start, value[0], None, tuple(self.lists[before:]), word[0])
            level += (text in (b"(", b"{", b"[")) - (text in (b")", b"}", b"]"))
            if level < 0:
                break
        raise FileError(f"{self.path}: entry {key!r} has no semicolon at its end; is the file cut?")

    def _directive(self, word: tuple[int, int]) -> Entry:
        """`#include "file"`, `#remove (a b)`: the rest of the line, or the brackets that begin there."""
        key = self.data[slice(*word)].decode(errors="replace")
        argument = self.word()
        if argument is None:
            return Entry(key, False, word[1], word[1], begin=word[0])
        if self.data[slice(*argument)] == b"(":
            while (closing := self.word()) is not None and self.data[slice(*closing)] != b")":
                pass
        return Entry(key, False, argument[0], self.position, begin=word[0])

    def take_format(self, header: Entry) -> None:
        """Take from a FoamFile how lists are written."""
        inside = {
            entry.key: self.data[entry.start : entry.end].decode(errors="replace") for entry in header.children or ()
        }
        self.binary = inside.get("format", "ascii").strip() == "binary"
        arch = inside.get("arch", "")
        self.label = 8 if "label=64" in arch else 4
        if self.binary and ("MSB" in arch or "scalar=32" in arch):
            raise FileError(f"{self.path}: its numbers are {arch.strip()}, expected LSB and scalar=64")


def unpacked(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz.

    Raises
    ------
    FileError
        if it is missing, or packed and broken
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(f"{path}: cannot be unpacked: {error}; is the file cut?") from None


def read_dictionary(path: Path) -> Dictionary:
    """Read a file of entries.

    Raises
    ------
    FileError
        if it is missing, cut, or no such file
    """
    return parse_dictionary(unpacked(path), path)


def parse_dictionary(data: bytes, path: Path) -> Dictionary:
    """As `read_dictionary`, from bytes that were read."""
    scanner = Scanner(path, data, 0, len(data))
    entries = scanner.entries()
    return Dictionary(path, data, entries, scanner.binary, scanner.label)


def read_header(path: Path) -> dict[str, str]:
    """{keyword: value} of a file's FoamFile, {} where it has none; no more is read than the beginning.

    Raises
    ------
    FileError
        if it is missing, or packed and broken
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            begin = file.read(4096)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(f"{path}: cannot be unpacked: {error}; is the file cut?") from None
    except (FileNotFoundError, IsADirectoryError):
        raise FileError(f"{path}: there is no such file") from None
    match = re.search(rb"\bFoamFile\s*\{([^}]*)\}", begin)
    if match is None:
        return {}
    pairs = re.findall(rb"(\w+)\s+([^;]*);", match[1])
    return {key.decode(): value.decode(errors="replace").strip().strip('"') for key, value in pairs}


def replaced(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Bytes with some spans (start, end, new) replaced; all others stay as they are."""
    parts, position = [], 0
    for start, end, new in sorted(changes):
        parts += [data[position:start], new]
        position = end
    return b"".join([*parts, data[position:]])


def packed(data: bytes, path: Path) -> bytes:
    """Bytes as a file of this name has them: packed where it ends in .gz."""
    return gzip.compress(data, compresslevel=1, mtime=0) if path.suffix == ".gz" else data
