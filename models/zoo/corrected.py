"""Autoencoders that begin as the best linear ones: principal components of blocks, and networks for what these leave.

    fields    f(x) = S⁺ (x + σ N_e(x, x − S S⁺ x)),   g(z) = S z + σ N_d(S z)
    codes     f(x) = S⁺ x + λ A_e(x),                 g(z) = S z + σ A_d(z / λ)

S are modes in blocks (:mod:`models.layers.local_modes`), S⁺ its pseudo-inverse, σ the standard deviation, at each
point, of what S leaves out and λ that of the codes. The last layer of each network is zero at the start, so that
training begins at the linear codec exactly. S is made from the training states (:mod:`models.training.linear_start`);
it takes no part in the training. `Corrected` may do all this with square roots of variables that are never below zero
(:mod:`models.layers.square_roots`). A network beside principal components is the first paper's, a block that begins as
nothing the second's.

Milano & Koumoutsakos 2002, Neural network modeling for near wall turbulent flow,
    https://doi.org/10.1006/jcph.2002.7146
He et al. 2016, Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from models.layers.activation import make_activation
from models.layers.block import make_block
from models.layers.convolution import Down, Shape, Up, strided_shape
from models.layers.local_modes import GridBlocks, LocalModes
from models.layers.rab import RAB
from models.layers.square_roots import SquareRoots
from models.layers.unet import UNet
from models.zoo.autoencoder import Autoencoder, Mask, grid_shape
from models.zoo.tucodec import Tucodec

_ACROSS = 12  # points of a block along each axis, about
_VALUES = 120  # of a state for each number of the latent


class Corrected(Autoencoder):
    """Modes in blocks with a network before the encoder and one after the decoder.

    The networks see, beside their fields, the mask, σ, and the place of a point within its block.

    Parameters
    ----------
    channels, shape, mask : as for `Autoencoder`
    n_latent : numbers in the latent; None for one for each 120 values
    blocks : numbers of blocks along x, y, z; None for blocks of about 12 points
    overlap : points by which a block reaches into its neighbours
    modes : number of modes of each block, n_latent in all; None for as many in each
    windows : points and whole, as for :class:`models.training.windowed_modes.Windows`, for modes of a covariance that
        falls with distance in place of those of blocks; one block holds them all then
    net : "UNet", "RAB" or "blocks": U-Nets (:mod:`models.layers.unet`), or a row of attention or residual blocks at
        half of the grid's resolution
    number : of blocks in a row
    width : channels of features at half of the resolution
    block, activation : names
    roots : numbers of the variables whose square roots modes and networks see

    Attributes
    ----------
    deviation : (C, nx, ny, nz) σ
    linear : LocalModes, S
    roots : SquareRoots, or None
    windows : as given
    """

    deviation: torch.Tensor
    place: torch.Tensor

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        *,
        n_latent: int | None = None,
        blocks: Sequence[int] | None = None,
        overlap: int = 0,
        modes: Sequence[int] | None = None,
        windows: Mapping[str, Any] | None = None,
        net: str = "UNet",
        number: int = 2,
        width: int = 16,
        block: str = "NeXt",
        activation: str = "PReLU",
        roots: Sequence[int] | None = None,
        mask: Mask = None,
    ) -> None:
        linear = _linear(channels, shape, n_latent, blocks, overlap, modes, windows)
        super().__init__(channels, shape, (linear.n_modes,), mask)
        self.linear, self.windows = linear, windows
        self.roots = SquareRoots(self.channels, self.shape, roots) if roots else None
        self.register_buffer("deviation", self.mask.expand(self.channels, *self.shape).clone())
        self.register_buffer("place", torch.from_numpy(linear.blocks.coordinates()), persistent=False)
        more = 1 + self.channels + 3

        def network(fields):
            c_in = fields * self.channels + more
            if net == "UNet":
                return UNet(c_in, self.channels, self.shape, width, _halvings(self.shape), 2 * width, activation)
            return Row(c_in, self.channels, self.shape, width, number, block, activation, attention=net == "RAB")

        self.before, self.after = network(2), network(1)
        for each in (self.before, self.after):
            _zero(each.last)

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        fields = self.without_solids(fields)
        if self.roots is not None:
            fields = self.roots(fields) * self.mask
        left = fields - self.linear.decode(self.linear.encode(fields))
        return self.linear.encode(fields + self._correction(self.before, fields, left))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        self.check_latent(latent)
        fields = self.linear.decode(latent)
        fields = fields + self._correction(self.after, fields)
        return (fields if self.roots is None else self.roots.inverse(fields)) * self.mask

    def _correction(self, network, *fields):
        static = torch.cat([self.mask[None], self.deviation, self.place * self.mask])
        given = torch.cat([*fields, static.expand(len(fields[0]), -1, -1, -1, -1)], 1)
        return self.deviation * network(given)


class CorrectedCodes(Autoencoder):
    """Modes in blocks with an autoencoder beside them, whose codes and fields are added to theirs.

    Parameters
    ----------
    channels, shape, mask, blocks, overlap, modes, windows : as for `Corrected`
    n_latent : as for `Tucodec`, whose latent it is, too
    others : as for `Tucodec`

    Attributes
    ----------
    deviation : (C, nx, ny, nz) σ; spread : (m,) λ
    linear : LocalModes, S
    windows : as given
    """

    deviation: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        *,
        n_latent: int | None = None,
        blocks: Sequence[int] | None = None,
        overlap: int = 0,
        modes: Sequence[int] | None = None,
        windows: Mapping[str, Any] | None = None,
        width: int = 64,
        block: str = "NeXt",
        activation: str = "PReLU",
        mask: Mask = None,
    ) -> None:
        beside = Tucodec(channels, shape, n_latent=n_latent, width=width, block=block, activation=activation, mask=mask)
        super().__init__(channels, shape, (beside.n_latent,), mask)
        self.beside = beside
        self.linear, self.windows = _linear(channels, shape, beside.n_latent, blocks, overlap, modes, windows), windows
        self.register_buffer("deviation", self.mask.expand(self.channels, *self.shape).clone())
        self.register_buffer("spread", torch.ones(self.n_latent))
        for layers in (beside.encoder, beside.decoder):
            _zero(list(cast(nn.Module, layers).children())[-1])

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        fields = self.without_solids(fields)
        return self.linear.encode(fields) + self.spread * self.beside.encode(fields)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        self.check_latent(latent)
        codes = torch.where(self.spread > 0, latent / self.spread.clamp_min(1e-12), torch.zeros_like(latent))
        return (self.linear.decode(latent) + self.deviation * self.beside.decode(codes)) * self.mask


class Row(nn.Module):
    """A strided convolution, a row of blocks at half of the resolution, and a transposed one back.

    (B, c_in, n…) → (B, c_out, n…).

    Parameters
    ----------
    c_in, c_out : channels
    shape : (nx, ny, nz) of the grid
    width : channels of features
    number : of blocks
    block, activation : names
    attention : whether the blocks are `RAB`, each with the named one inside
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        shape: Shape,
        width: int,
        number: int,
        block: str,
        activation: str,
        attention: bool,
    ) -> None:
        super().__init__()
        half = strided_shape(shape)

        def one():
            return RAB(width, half, block, activation) if attention else make_block(block, width, activation)

        self.first = nn.Sequential(Down(c_in, width), make_activation(activation, width))
        self.row = nn.Sequential(*(one() for _ in range(number)))
        self.last = Up(width, c_out, shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.row(self.first(x)))


def _linear(channels, shape, n_latent, blocks, overlap, modes, windows):
    shape = grid_shape(shape)
    if windows is not None:
        if blocks is not None or overlap:
            raise ValueError("windows beside blocks or an overlap; give one of them: modes of windows lie in no blocks")
        blocks = (1, 1, 1)
    counts = tuple(max(1, round(n / _ACROSS)) for n in shape) if blocks is None else tuple(int(n) for n in blocks)
    if len(counts) != 3:
        raise ValueError(f"blocks = {list(counts)}, expected three numbers of blocks, along x, y and z")
    of = GridBlocks(shape, counts, int(overlap))
    if n_latent is None:
        n_latent = sum(modes) if modes is not None else max(len(of), -(-channels * math.prod(shape) // _VALUES))
    if modes is None:
        modes = [n_latent // len(of) + (k < n_latent % len(of)) for k in range(len(of))]
    if sum(modes) != n_latent:
        raise ValueError(f"modes of blocks are {sum(modes)} in all, expected n_latent = {n_latent}")
    return LocalModes(channels, of, modes)


def _halvings(shape):
    """As many as leave two points along the longest side, three at most."""
    return max(1, min(3, int(math.log2(max(shape)))))


def _zero(layer):
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
