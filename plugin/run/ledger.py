"""The run's memory: one line of JSON per finished cycle, each with a checksum.

Lines are only ever added. A line that is cut off, as by a crash while writing, is not a cycle: the
reader stops before it and the next line written replaces it. Where a run goes back, to make cycles
again, a line says so; the readers then leave out those that it went back over.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO

from coupling.common.faults import reached
from coupling.common.files import naming, sync
from coupling.common.links import opened_itself

_BACK_TO = "back_to"
_BLOCK = 1 << 16  # bytes read at once from the end


class LedgerError(ValueError):
    """A ledger whose lines are not what was written; the message names file and line."""


def _line(entry):
    text = json.dumps(entry, sort_keys=True, allow_nan=False)
    stored = {"checksum": hashlib.sha256(text.encode()).hexdigest(), "entry": entry}
    return json.dumps(stored, sort_keys=True).encode() + b"\n"


def _parse(line):
    try:
        stored = json.loads(line)
        return stored["entry"] if _line(stored["entry"]) == line else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(path):
    """(entries as they stand there, bytes of their lines)."""
    _refuse_link(path)
    entries, size = [], 0
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            if number == len(lines):
                break
            raise LedgerError(
                f"{path}, line {number}: does not match its checksum; restore the file, or start a new run"
            )
        entries.append(entry)
        size += len(line)
    return entries, size


def _refuse_link(path):
    if path.is_symlink():
        raise LedgerError(f"{path}: is a link to {os.readlink(path)}, expected the run's own file; put it in its place")


def read_ledger(path: Path) -> list[dict]:
    """Entries of a ledger, oldest first, without those gone back over; an unfinished last line is left out.

    Raises
    ------
    LedgerError
        if a line before the last does not match its checksum, or the file is a link
    """
    entries: list[dict] = []
    for entry in _read(Path(path))[0]:
        if _BACK_TO in entry:
            del entries[entry[_BACK_TO] :]
        else:
            entries.append(entry)
    return entries


def append_entry(path: Path, entry: dict) -> None:
    """Add an entry; when this returns it is on the disk."""
    path, line = Path(path), _line(entry)
    _refuse_link(path)
    with naming(path), open(path, "r+b" if path.exists() else "w+b", opener=opened_itself) as ledger:
        finished = _end_of_entries(ledger)
        ledger.truncate(finished)
        ledger.seek(finished)
        ledger.write(line)
        ledger.flush()
        reached("entry written")
        os.fsync(ledger.fileno())
    sync(path.parent)


def _end_of_entries(ledger: BinaryIO) -> int:
    """Where the next line goes: after the last line, or in its place where that was cut off. Only the end is read."""
    size = end = ledger.seek(0, os.SEEK_END)
    tail = b""
    while end and b"\n" not in tail[:-1]:  # until it holds the last line and the end of the one before
        begin = max(0, end - _BLOCK)
        ledger.seek(begin)
        tail, end = ledger.read(end - begin) + tail, begin
    last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
    return size if _parse(last) is not None else size - len(last)


def go_back(path: Path, number: int) -> None:
    """Go back to the first `number` entries: those after them count no longer."""
    append_entry(path, {_BACK_TO: number})
