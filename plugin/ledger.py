"""The run's memory: one line of JSON per finished cycle, each with a checksum.

Lines are only ever added. A line that is cut off, as by a crash while writing, is not a cycle: the
reader stops before it and the next line written replaces it.
"""

import hashlib
import json
import os
from pathlib import Path

from coupling.files import sync


class LedgerError(ValueError):
    """A ledger whose lines are not what was written; the message names file and line."""


def _line(entry):
    text = json.dumps(entry, sort_keys=True, allow_nan=False)
    return json.dumps({"checksum": hashlib.sha256(text.encode()).hexdigest(), "entry": entry}, sort_keys=True) + "\n"


def _parse(line):
    try:
        stored = json.loads(line)
        return stored["entry"] if _line(stored["entry"]) == line else None
    except (ValueError, KeyError, TypeError):
        return None


def read_ledger(path):
    """Entries of a ledger, oldest first; an unfinished last line is left out.

    Raises
    ------
    LedgerError
        if a line before the last does not match its checksum
    """
    path = Path(path)
    if not path.is_file():
        return []
    entries = []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        entry = _parse(line)
        if entry is None:
            if number == len(lines):
                break
            raise LedgerError(
                f"{path}, line {number}: does not match its checksum; restore the file, or start a new run"
            )
        entries.append(entry)
    return entries


def append_entry(path, entry):
    """Add an entry; when this returns it is on the disk."""
    path = Path(path)
    finished = sum(len(_line(old).encode()) for old in read_ledger(path))
    with open(path, "r+b" if path.exists() else "w+b") as ledger:
        ledger.truncate(finished)
        ledger.seek(finished)
        ledger.write(_line(entry).encode())
        ledger.flush()
        os.fsync(ledger.fileno())
    sync(path.parent)
