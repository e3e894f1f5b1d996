"""Marks of copies: which cells and points of a piece another piece owns.

    vtkGhostType     bits, of which 1 stands for a copy: VTK since version 7, and Fluidity built with it
    vtkGhostLevels   how many layers lie between a copy and its owner's cells, 0 for one's own: VTK up to version 6

VTK's reader turns the second kind into the first as it reads, where the file is of version 0 or 1. A restart goes back
to the program that wrote the file, so here each kind stays what it was.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from coupling.common.files import FileError

GHOST = "vtkGhostType"
GHOST_LEVELS = "vtkGhostLevels"
MARKS = frozenset({GHOST, GHOST_LEVELS})
DUPLICATE_CELL = 1

# as long as the name, so that nothing in the file moves; VTK's reader does not know it
_HIDDEN = "vtkGhostLevel~"


def copied_cells(arrays: Mapping[str, np.ndarray], n_cells: int, path: str | Path) -> np.ndarray:
    """(n_cells,) bool: the cells that are marked as copies.

    Parameters
    ----------
    arrays : {name: array} at the cells of one file
    n_cells : number of its cells
    path : the file, for messages

    Raises
    ------
    FileError
        if marks are not one whole number for each cell, or the two kinds contradict each other
    """
    marked = []
    for name in sorted(MARKS & arrays.keys()):
        marks = arrays[name]
        if marks.shape != (n_cells,) or marks.dtype.kind not in "iu":
            raise FileError(
                f"{path}: cell array {name!r} is {marks.dtype} of shape {marks.shape}, expected one whole number "
                f"for each of {n_cells} cells"
            )
        marked.append((marks & DUPLICATE_CELL) != 0 if name == GHOST else marks > 0)
    if not marked:
        return np.zeros(n_cells, bool)
    if (marked[0] != marked[-1]).any():
        raise FileError(
            f"{path}: {GHOST} and {GHOST_LEVELS} mark different cells as copies; remove the array that is wrong"
        )
    return marked[0]


def hidden_levels(path: Path) -> bytes | None:
    """The content of a VTU file with another name for its marks of the older kind, or None where it has none."""
    names = [f"{quote}{GHOST_LEVELS}{quote}".encode() for quote in "\"'"]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = content.find(b"<AppendedData")
        end = end if end >= 0 else len(content)
        if all(content.find(name, 0, end) < 0 for name in names):
            return None
        head = content[:end]
        for name in names:
            head = head.replace(name, name.replace(GHOST_LEVELS.encode(), _HIDDEN.encode()))
        return head + content[end:]


def hidden_name(name: str) -> str:
    """The name under which :func:`hidden_levels` has an array."""
    return _HIDDEN if name == GHOST_LEVELS else name


def shown_name(name: str) -> str:
    """The array's own name."""
    return GHOST_LEVELS if name == _HIDDEN else name
