"""Which samples make a batch, and reading them from where there are more than memory holds.

Samples are anything of shape (S, C, nx, ny, nz) whose slices are arrays: an array, a memory map, an HDF5 dataset.
An epoch's order is a matter of numbers alone, so that it is the same on any number of ranks. It takes blocks of
consecutive samples in random order and shuffles what a buffer of several blocks holds; each rank reads its own samples
of a buffer, those that are neighbours at once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

_BUFFER = 1 << 28  # bytes of all ranks' samples in one buffer
_BLOCK = 16  # consecutive samples
ORDER, AUGMENTATION, OBJECTIVE, NETWORK = range(1, 5)  # what random numbers are for


class Samples(Protocol):
    """(S, C, nx, ny, nz) numbers whose slices are arrays."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, run: slice) -> np.ndarray: ...


def random(purpose: int, *numbers: int) -> np.random.Generator:
    """A numpy generator that depends on a purpose and on numbers such as seed and epoch alone."""
    return np.random.default_rng(np.random.SeedSequence((purpose, *numbers)))


def random_seed(purpose: int, *numbers: int) -> int:
    """A seed for one of torch's generators that depends on these alone."""
    return int(random(purpose, *numbers).integers(2**63))


def batches_of(count: int, batch: int, together: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Numbers of an epoch's samples, batch by batch.

    Parameters
    ----------
    count : samples
    batch : the most samples of a batch; batches are of one size, or differ by one
    together : batches whose samples are in memory at a time, and are shuffled among each other
    seed, epoch : what the order depends on

    Returns
    -------
    list of integer arrays, each sample in exactly one of them
    """
    rng = random(ORDER, seed, epoch)
    blocks = np.array_split(np.arange(count), -(-count // _BLOCK))
    batches = np.array_split(np.concatenate([blocks[k] for k in rng.permutation(len(blocks))]), -(-count // batch))
    for group in _grouped(batches, together):
        mixed = rng.permutation(np.concatenate(group))
        for numbers, others in zip(
            group, np.split(mixed, np.cumsum([len(numbers) for numbers in group])[:-1]), strict=True
        ):
            numbers[:] = others
    return batches


def batches_together(samples: Samples, batch: int) -> int:
    """Batches whose samples take about a quarter of a gigabyte."""
    return max(1, _BUFFER // max(1, int(np.prod(samples.shape[1:])) * samples.dtype.itemsize * batch))


def share(numbers: np.ndarray, rank: int, size: int) -> np.ndarray:
    """This rank's part of a global batch; parts differ by one sample at most."""
    return np.array_split(numbers, size)[rank]


def read_batches(
    samples: Samples, batches: Sequence[np.ndarray], together: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read batches one after another; the next ones are read while these are used.

    Parameters
    ----------
    samples : (S, C, nx, ny, nz)
    batches : list of one or more arrays of numbers
    together : batches that are read at a time

    Yields
    ------
    numbers : (b,) of a batch
    values : (b, C, nx, ny, nz) float32
    """
    groups = _grouped(batches, together)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_read, samples, np.concatenate(groups[0]))
        for k, group in enumerate(groups):
            numbers, values = coming.result()
            if k + 1 < len(groups):
                coming = reader.submit(_read, samples, np.concatenate(groups[k + 1]))
            for wanted in group:
                yield wanted, values[np.searchsorted(numbers, wanted)]


def _grouped(batches, together):
    return [batches[first : first + together] for first in range(0, len(batches), together)]


def _read(samples, numbers):
    """Samples by rising number; runs of neighbours are read at once."""
    numbers = np.sort(numbers)
    values = np.empty((len(numbers), *samples.shape[1:]), np.float32)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 2) != 1)
    # a rank without samples has no starts
    for first, end in zip(starts, [*starts[1:], len(numbers)], strict=False):
        values[first:end] = samples[numbers[first] : numbers[end - 1] + 1]
    return numbers, values
