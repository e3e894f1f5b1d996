"""Steps up in resolution by name: a transposed convolution, or a learned rearrangement of channels (Shi 2016).

Shi et al. 2016, Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network, https://arxiv.org/abs/1609.05158
Aitken et al. 2017, Checkerboard artifact free sub-pixel convolution, https://arxiv.org/abs/1707.02937
"""

from collections.abc import Sequence

import torch
from torch import nn

from models.layers.convolution import Up, strided_shape
from models.names.choices import UPSAMPLINGS
from models.names.nearest import unknown


class Shuffle(nn.Module):
    """y_{2q+o} = W_o x_q + b_o for the eight places o of a point within 2³ (Shi 2016 in three dimensions, kernel 1³).

    8 products for each of c_in·c_out at a coarse point, in place of the 27 of `Up`; neighbours are mixed by the
    layers around it. The eight W_o are alike at the start, which is interpolation by the nearest point (Aitken 2017).
    (B, c_in, ⌈n/2⌉…) → (B, c_out, n…).

    Parameters
    ----------
    c_in, c_out : channels
    shape : (nx, ny, nz) of the result
    """

    def __init__(self, c_in: int, c_out: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.out_shape, self.in_shape, self.out_channels = tuple(shape), strided_shape(shape), c_out
        self.places = nn.Conv3d(c_in, 8 * c_out, 1)
        with torch.no_grad():
            for values in self.places.parameters():
                alike = values.view(c_out, 8, *values.shape[1:])
                alike.copy_(alike[:, :1].expand_as(alike))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if tuple(x.shape[2:]) != self.in_shape:
            raise ValueError(f"features of {tuple(x.shape[2:])} points, expected {self.in_shape} for {self.out_shape}")
        nx, ny, nz = self.in_shape
        places = self.places(x).view(len(x), self.out_channels, 2, 2, 2, nx, ny, nz)
        y = places.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(x), self.out_channels, 2 * nx, 2 * ny, 2 * nz)
        return y[:, :, : self.out_shape[0], : self.out_shape[1], : self.out_shape[2]].contiguous()


def make_up(name: str, c_in: int, c_out: int, shape: Sequence[int]) -> nn.Module:
    """A step up to a given shape by its name, (B, c_in, ⌈n/2⌉…) → (B, c_out, n…).

    Parameters
    ----------
    name : "transposed", `Up`; "shuffle", `Shuffle`
    c_in, c_out : channels
    shape : (nx, ny, nz) of the result

    Raises
    ------
    ValueError
        for another name, with the nearest known one
    """
    if name not in UPSAMPLINGS:
        raise unknown("upsampling", name, UPSAMPLINGS)
    return (Shuffle if name == "shuffle" else Up)(c_in, c_out, shape)
