"""Linear modes that live in blocks of the grid: what a principal component analysis of neighbourhoods gives.

Blocks may overlap; their codes are then those of least squares:

Malvar & Staelin 1989, The LOT: transform coding without blocking effects,
    https://doi.org/10.1109/29.17536
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import nn

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class GridBlocks:
    """Boxes of grid points, side by side, each with a margin in which it overlaps its neighbours.

    shape : (nx, ny, nz) of the grid
    counts : numbers of boxes along x, y, z
    overlap : points by which a box is extended at each face that has a neighbour

    ValueError if there are more boxes along an axis than points, or the overlap is negative.
    """

    shape: tuple[int, int, int]
    counts: tuple[int, int, int]
    overlap: int = 0

    def __post_init__(self) -> None:
        for points, count in zip(self.shape, self.counts, strict=True):
            if not 1 <= count <= points:
                raise ValueError(f"blocks of {self.counts} on a grid of {self.shape}, expected 1 to {points} there")
        if self.overlap < 0:
            raise ValueError(f"an overlap of {self.overlap} points, expected 0 or more")

    def __len__(self) -> int:
        return int(np.prod(self.counts))

    def boxes(self) -> list[Box]:
        """The boxes with their margins, the last direction fastest."""
        along = [self._along(axis) for axis in range(3)]
        return [(x, y, z) for x, y, z in product(*along)]

    def cells(self) -> Iterator[tuple[Box, list[int]]]:
        """Boxes whose points all lie in the same blocks, and the numbers of these blocks."""
        runs = [self._runs(axis) for axis in range(3)]
        for (x, of_x), (y, of_y), (z, of_z) in product(*runs):
            numbers = [int(np.ravel_multi_index(index, self.counts)) for index in product(of_x, of_y, of_z)]
            yield (x, y, z), numbers

    def coordinates(self) -> np.ndarray:
        """(3, nx, ny, nz) place of each point within its own block, without margins: −1 to 1 along each axis."""
        along = []
        for axis, points in enumerate(self.shape):
            edges = self._edges(axis)
            own = np.searchsorted(edges, np.arange(points), side="right") - 1
            low, high = edges[own], edges[own + 1]
            along.append((2.0 * np.arange(points) + 1.0 - low - high) / (high - low))
        return np.stack(np.meshgrid(*along, indexing="ij")).astype(np.float32)

    def _edges(self, axis):
        points, count = self.shape[axis], self.counts[axis]
        return -(-np.arange(count + 1) * points // count)

    def _along(self, axis):
        edges, points = self._edges(axis), self.shape[axis]
        return [
            slice(max(0, int(low) - self.overlap), min(points, int(high) + self.overlap))
            for low, high in zip(edges[:-1], edges[1:], strict=True)
        ]

    def _runs(self, axis):
        slices = self._along(axis)
        edges = sorted({edge for of in slices for edge in (of.start, of.stop)})
        return [
            (slice(low, high), [k for k, of in enumerate(slices) if of.start <= low and high <= of.stop])
            for low, high in zip(edges[:-1], edges[1:], strict=True)
        ]


class LocalModes(nn.Module):
    """x ≈ S z with modes S that are zero outside their blocks, and z = (Sᵀ S)⁻¹ Sᵀ x, which is Sᵀ x where blocks do not
    overlap and their modes are orthonormal. A product costs the points of each block times its own modes.

    Modes are random until `load_bases` sets others.

    Parameters
    ----------
    channels : C
    blocks : GridBlocks
    modes : number of modes of each block
    """

    gram_inverse: torch.Tensor

    def __init__(self, channels: int, blocks: GridBlocks, modes: Sequence[int]) -> None:
        super().__init__()
        if len(modes) != len(blocks) or min(modes) < 0 or sum(modes) < 1:
            raise ValueError(f"modes of {len(modes)} blocks, {sum(modes)} in all; expected {len(blocks)}, 1 or more")
        self.blocks, self.channels, self.modes = blocks, int(channels), tuple(int(k) for k in modes)
        self._boxes = blocks.boxes()
        for number, (box, k) in enumerate(zip(self._boxes, self.modes, strict=True)):
            values = self.channels * int(np.prod([of.stop - of.start for of in box]))
            if k > values:
                raise ValueError(f"{k} modes of a block of {values} values")
            self.register_buffer(f"basis_{number}", torch.randn(values, k) / values**0.5)
        self.register_buffer("gram_inverse", torch.linalg.inv(self._gram()))

    @property
    def n_modes(self) -> int:
        """Number of modes in all."""
        return sum(self.modes)

    def load_bases(self, bases: Sequence[np.ndarray]) -> None:
        """Set the modes: for each block (C·points, modes), points in the order of the box, its last direction fastest.

        Raises
        ------
        ValueError
            if a block's modes have another shape
        """
        for number, values in enumerate(bases):
            own = self._basis(number)
            if tuple(values.shape) != tuple(own.shape):
                raise ValueError(f"modes of block {number} of shape {values.shape}, expected {tuple(own.shape)}")
            own.copy_(torch.from_numpy(np.ascontiguousarray(values)))
        # a mode that is zero, in a block without variance, has a code that is zero
        self.gram_inverse.copy_(torch.linalg.pinv(self._gram(), hermitian=True))

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, C, nx, ny, nz) → (B, m)."""
        parts = [fields[(..., *box)].flatten(1) @ self._basis(k) for k, box in enumerate(self._boxes)]
        return torch.cat(parts, 1) @ self.gram_inverse

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """(B, m) → (B, C, nx, ny, nz)."""
        fields = codes.new_zeros(len(codes), self.channels, *self.blocks.shape)
        for number, (part, box) in enumerate(zip(codes.split(self.modes, 1), self._boxes, strict=True)):
            where = fields[(..., *box)]
            fields[(..., *box)] = where + (part @ self._basis(number).T).view(where.shape)
        return fields

    def _basis(self, number: int) -> torch.Tensor:
        return self.get_buffer(f"basis_{number}")

    def _gram(self) -> torch.Tensor:
        """(m, m) Sᵀ S, in double precision and back: blocks share few points, so few of its blocks are not zero."""
        first = self._basis(0)
        gram = torch.zeros(self.n_modes, self.n_modes, dtype=torch.float64, device=first.device)
        starts = np.cumsum([0, *self.modes])
        for a, b in product(range(len(self.blocks)), repeat=2):
            common = common_box(self._boxes[a], self._boxes[b])
            if a <= b and common is not None:
                of_a, of_b = (self._within(number, common).double() for number in (a, b))
                gram[starts[a] : starts[a + 1], starts[b] : starts[b + 1]] = of_a.T @ of_b
                gram[starts[b] : starts[b + 1], starts[a] : starts[a + 1]] = of_b.T @ of_a
        return gram.to(first.dtype)

    def _within(self, number, box):
        """Rows of a block's modes at the points of a box in it."""
        own = self._boxes[number]
        sizes = [of.stop - of.start for of in own]
        local = [slice(of.start - by.start, of.stop - by.start) for of, by in zip(box, own, strict=True)]
        return self._basis(number).view(self.channels, *sizes, -1)[(slice(None), *local)].flatten(0, 3)


def common_box(one: Box, other: Box) -> Box | None:
    """The points of both boxes; None if there are none."""
    low = [max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(one, other, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return None
    x, y, z = (slice(a, b) for a, b in zip(low, high, strict=True))
    return x, y, z
