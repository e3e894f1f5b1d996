"""Files that are opened themselves, not what a link in their place leads to. Nothing here starts MPI."""

import os
from pathlib import Path


def opened_itself(path: str | Path, flags: int) -> int:
    """An `opener` for `open` that follows no link at the end of a path: OSError (ELOOP) where there is one."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
