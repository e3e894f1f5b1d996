"""Which process of which host owns something, and whether it is still there.

A process differs from a later one of the same number by the moment it began. Only processes of this host can be
looked up; of those on another host nothing is known.
"""

import os
import re
import socket
from pathlib import Path


def host_name() -> str:
    """This host's name, as its own system has it."""
    return socket.gethostname()


def host_in_names() -> str:
    """This host's name with nothing but letters, digits and hyphens, for use within a file's name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", host_name())[:64]


def began(process: int) -> int | None:
    """When a process of this host began [ticks since the system started]; None if it has ended."""
    try:
        state, *numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(numbers[18])


def own_start() -> int:
    """When this process began [ticks since the system started]."""
    return began(os.getpid()) or 0
