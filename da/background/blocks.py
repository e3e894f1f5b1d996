"""Boxes that cover the domain, side by side or overlapping, and the weight of each at each place."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Blocks:
    """Boxes of equal size; the weights of all of them at a place sum to one.

    low : (3,) lowest corner [m]; size : (3,) of a box [m]; counts : (3,) numbers of boxes
    overlap : a box's weight falls linearly from its centre to those of its neighbours, instead of to zero at its faces

    ValueError if a size or a number is not positive.
    """

    low: tuple[float, float, float]
    size: tuple[float, float, float]
    counts: tuple[int, int, int]
    overlap: bool = True

    def __post_init__(self) -> None:
        if not (np.all(np.asarray(self.size) > 0.0) and np.all(np.asarray(self.counts) > 0)):
            raise ValueError(f"blocks of {self.size} m, {self.counts} of them; expected positive numbers")

    @property
    def n_blocks(self) -> int:
        """Number of boxes."""
        return int(np.prod(self.counts))

    @property
    def centres(self) -> np.ndarray:
        """(n_blocks, 3) [m], the last direction fastest."""
        index = np.stack(np.unravel_index(np.arange(self.n_blocks), self.counts), axis=1)
        return np.asarray(self.low) + (index + 0.5) * np.asarray(self.size)

    def weights(self, position: np.ndarray) -> np.ndarray:
        """(k, n_blocks) weights at places, (k, 3) [m]; places beyond the boxes count as of the nearest ones."""
        along = [self._along(position[:, axis], axis) for axis in range(3)]
        return np.einsum("ki,kj,kl->kijl", *along).reshape(len(position), self.n_blocks)

    def _along(self, coordinate: np.ndarray, axis: int) -> np.ndarray:
        """(k, counts[axis]) weights in one direction."""
        number = np.arange(self.counts[axis])
        place = (coordinate - self.low[axis]) / self.size[axis]
        if self.overlap:
            centred = np.clip(place - 0.5, 0.0, self.counts[axis] - 1)
            return np.maximum(0.0, 1.0 - np.abs(centred[:, None] - number))
        own = np.clip(np.floor(place), 0, self.counts[axis] - 1)
        return (own[:, None] == number).astype(np.float64)


def cover(low: np.ndarray, high: np.ndarray, size: np.ndarray, overlap: bool = True) -> Blocks:
    """Blocks of about that size that fill a box from `low` to `high`, (3,) [m] each."""
    extent = np.asarray(high, float) - np.asarray(low, float)
    counts = np.maximum(np.rint(extent / np.asarray(size, float)), 1.0)
    x, y, z = (float(of) for of in low)
    dx, dy, dz = (extent / counts).tolist()
    nx, ny, nz = (int(of) for of in counts)
    return Blocks((x, y, z), (dx, dy, dz), (nx, ny, nz), overlap)
