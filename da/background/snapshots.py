"""Snapshots: they arrive one after another, and modes are made of them by blocks of rows.

What does not fit into memory is kept in a scratch file. Each block of rows is read from it when needed, so that the
modes are the same to the last bit wherever the snapshots are.
"""

import os
import tempfile
from collections.abc import Iterable

import numpy as np

_BLOCK = 1 << 20  # values in a block of rows; 8 MiB stay in the processor's last cache


def collected(
    blocks: Iterable[np.ndarray], n_local: int, n_samples: int, scratch: str | os.PathLike[str] | None = None
) -> np.ndarray:
    """Put snapshots side by side, in memory or in a scratch file.

    A scratch file has no name: it disappears with the array, or when the process ends. Memory then holds one of
    `blocks` at a time, and as much of the file as the system caches.

    Parameters
    ----------
    blocks : iterable of (n_local,) snapshots, or (n_local, k) of several
    n_local : rows of this rank
    n_samples : S, snapshots of all blocks
    scratch : folder of the scratch file, which takes 8 n_local S bytes; None keeps everything in memory

    Returns
    -------
    (n_local, S) float64; its columns lie one after another

    Raises
    ------
    ValueError
        if a block has other rows, or the blocks have fewer or more snapshots than S
    OSError
        if the scratch file cannot be made, or the disk is full
    """
    columns = np.empty((n_samples, n_local)) if scratch is None else _in_a_file((n_samples, n_local), scratch)
    there = 0
    for block in blocks:
        block = np.atleast_2d(np.asarray(block).T)
        if block.shape[1] != n_local:
            raise ValueError(f"snapshot {there} has {block.shape[1]} rows on this rank, expected {n_local}")
        if there + len(block) > n_samples:
            raise ValueError(f"more than the {n_samples} snapshots that were announced")
        columns[there : there + len(block)] = block
        there += len(block)
    if there != n_samples:
        raise ValueError(f"{there} snapshots came, {n_samples} were announced")
    return columns.T


def _in_a_file(shape: tuple[int, int], folder: str | os.PathLike[str]) -> np.ndarray:
    size = 8 * shape[0] * shape[1]
    if size == 0:
        return np.empty(shape)
    with tempfile.TemporaryFile(dir=folder, prefix="snapshots") as file:
        # a full disk is an error here, and not a signal when a page is written
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=np.float64, mode="r+", shape=shape)


def row_blocks(shape: tuple[int, ...]) -> list[slice]:
    """Slices that cut (n_local, S) into blocks of rows, each of S rows at least, except the last."""
    step = max(shape[1], _BLOCK // max(1, shape[1]), 1)
    return [slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]
