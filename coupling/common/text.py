"""Texts that others wrote, fit to be shown: no control characters, and no more than a screen holds."""

import os
import re
from pathlib import Path

_TAIL = 1 << 20  # bytes of a file that its last lines are looked for in
_WIDTH = 500  # letters of a line that are shown
# C0 and C1 controls but tab and line feed, what turns the direction of text, separators of lines, lone surrogates
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = re.compile("\x1b\\[[0-9;:]*[mK]")  # of letters, and what VTK's log puts around a line


def counted(n: int, noun: str) -> str:
    """1 sensor, 2 sensors."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def without_colours(text: str) -> str:
    """A text without the codes that colour it on a terminal, as VTK writes them to a file too."""
    return _COLOURS.sub("", text)


def printable(text: str) -> str:
    r"""A text without what a terminal would obey: such characters as \x1b, and bytes that are no text as \udc80."""
    return _UNFIT.sub(lambda match: _written(ord(match[0])), text)


def _written(number):
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def last_lines(path: str | Path, count: int) -> list[str]:
    """The last lines of a text file, however large it is; none if there is no such file.

    Empty lines at the end do not count, long lines are cut, and control characters are written out.
    """
    return lines_of(end_of_file(path), count)


def end_of_file(path: str | Path) -> str:
    """The last part of a text file, 1 MiB at most, without blanks at its end; empty if there is no such file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            return file.read(_TAIL).decode(errors="replace").rstrip()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""


def lines_of(text: str, count: int) -> list[str]:
    """The last lines of a text, fit to be shown: without colours, and with other control characters written out."""
    return [_cut(printable(without_colours(line))) for line in text.splitlines()[-count:]]


def _cut(line):
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]} …"
