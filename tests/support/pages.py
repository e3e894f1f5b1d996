"""What is in the documents' pages: blocks of code, commands, names."""

import re
import shlex
from dataclasses import dataclass

from places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OURS = ("plugin", "coupling", "examples", "benchmarks")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is to be put in or None, its text."""

    language: str
    title: str | None
    text: str


def blocks(page):
    """The fenced blocks of a page."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(language, title or None, text) for language, title, text in found]


def spans(page):
    """What stands between backticks outside fenced blocks, on one line each."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def commands(page):
    """(module, words) of our own commands: whole lines of indented or fenced blocks, and what is between backticks.

    Between backticks a module's name alone is no command that could be parsed: its words are None.
    """
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]
    lines += [line for block in blocks(page) if block.language == "sh" for line in block.text.splitlines()]
    found = [_command(line, whole=True) for line in lines]
    return [one for one in found + [_command(span, whole=False) for span in spans(page)] if one is not None]


def _command(line, whole):
    match = re.search(rf"python -m ((?:{'|'.join(_OURS)})(?:\.\w+)*)(.*)", line)
    if match is None:
        return None
    words = [word for word in shlex.split(match[2], comments=True) if not word.startswith("$")]
    return match[1], words if whole or words else None
