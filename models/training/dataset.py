"""Which samples make a batch, and reading them from where there are more than memory holds.

Samples are anything of shape (S, C, nx, ny, nz) whose slices are arrays: an array, a memory map, an HDF5 dataset.
An epoch's order is a matter of numbers alone, so that it is the same on any number of ranks. It takes blocks of
consecutive samples in random order and shuffles what a buffer of several blocks holds; each rank reads its own samples
of a buffer, those that are neighbours at once.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BUFFER = 1 << 30  # bytes of all ranks' samples in one buffer
_BLOCK = 16  # consecutive samples


def random(*numbers):
    """A numpy generator that depends on whole numbers alone."""
    return np.random.default_rng(np.random.SeedSequence(numbers))


def batches_of(count, batch, seed, epoch, buffer=None):
    """Numbers of an epoch's samples, batch by batch.

    Parameters
    ----------
    count : samples
    batch : the most samples of a batch; batches are of one size, or differ by one
    seed, epoch : what the order depends on
    buffer : samples that are shuffled among each other; None for all

    Returns
    -------
    list of integer arrays, each sample in exactly one of them
    """
    rng = random(seed, epoch)
    blocks = np.array_split(np.arange(count), -(-count // _BLOCK))
    order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
    step = count if buffer is None else buffer
    for first in range(0, count, step):
        rng.shuffle(order[first : first + step])
    return np.array_split(order, -(-count // batch))


def buffer_size(samples, batch):
    """Samples in a buffer: as many as take about a gigabyte, in whole batches."""
    size = int(np.prod(samples.shape[1:])) * samples.dtype.itemsize
    return max(1, _BUFFER // max(1, size * batch)) * batch


def share(numbers, rank, size):
    """This rank's part of a global batch; parts differ by one sample at most."""
    return np.array_split(numbers, size)[rank]


def read_batches(samples, batches, buffer):
    """Read batches one after another; the next buffer is read while the last one is used.

    Parameters
    ----------
    samples : (S, C, nx, ny, nz)
    batches : list of (b,) numbers
    buffer : samples, of all ranks, that are read at a time
    """
    each = max(1, buffer // max(1, max(len(numbers) for numbers in batches)))
    groups = [batches[first : first + each] for first in range(0, len(batches), each)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_read, samples, np.concatenate(groups[0]))
        for k, group in enumerate(groups):
            numbers, values = coming.result()
            if k + 1 < len(groups):
                coming = reader.submit(_read, samples, np.concatenate(groups[k + 1]))
            for wanted in group:
                yield wanted, values[np.searchsorted(numbers, wanted)]


def _read(samples, numbers):
    """Samples by rising number; runs of neighbours are read at once."""
    numbers = np.sort(numbers)
    values = np.empty((len(numbers), *samples.shape[1:]), np.float32)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 2) != 1)
    for first, end in zip(starts, [*starts[1:], len(numbers)]):
        values[first:end] = samples[numbers[first] : numbers[end - 1] + 1]
    return numbers, values
