"""Whether a dataset can be as large as it claims to be, before memory is taken for it."""

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
        return f"claims {claimed:,} bytes, of which the file holds {held:,}; was it written whole?"
    if values.chunks is not None:
        chunk = math.prod(values.chunks) * values.dtype.itemsize
        if chunk > max(claimed, _CHUNK):
            return f"is stored in chunks of {chunk:,} bytes, but is {claimed:,} bytes itself"
    return None
