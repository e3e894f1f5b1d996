"""HDF5 files of anybody's making: what lies in the file itself, and is no larger than it can be."""

import math

import h5py

_MOST = 1100  # bytes that a byte compressed by gzip can become
_SMALL = 1 << 20  # bytes that are not worth a question, e.g. of what was never written
_CHUNK = 1 << 28  # bytes of a chunk, for which HDF5 takes memory at once


def claim_problem(values: h5py.Dataset) -> str | None:
    """What is wrong with a dataset's size, as the end of a sentence that begins with its name; None if nothing is."""
    claimed = math.prod(values.shape) * values.dtype.itemsize
    held = min(values.id.get_storage_size(), values.file.id.get_filesize())
    if claimed > _SMALL + _MOST * held:
        return f"claims {claimed:,} bytes, of which the file holds {held:,}"
    if values.chunks is not None:
        chunk = math.prod(values.chunks) * values.dtype.itemsize
        if chunk > max(claimed, _CHUNK):
            return f"is stored in chunks of {chunk:,} bytes, but is {claimed:,} bytes itself"
    return None


def elsewhere_problem(file: h5py.File) -> str | None:
    """The first of a file's links, or of its datasets with values in other files, in words; None if there is none.

    A link may lead to any file of this machine. Groups are looked through, however deep, each once.
    """
    looked_at, waiting = set(), [("", file["/"])]
    while waiting:
        above, group = waiting.pop()
        for word in group:
            name = f"{above}/{word}"
            if not isinstance(group.get(word, getlink=True), h5py.HardLink):
                return f"{name} is a link, which is refused; copy what it leads to into the file"
            item = group[word]
            if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                return f"{name} keeps its values in other files, which is refused; copy them into this file"
            if isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in looked_at:
                looked_at.add(address)
                waiting.append((name, item))
    return None
