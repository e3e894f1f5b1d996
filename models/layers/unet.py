"""A field seen at several resolutions and put together again (Ronneberger 2015, in three dimensions).

Ronneberger et al. 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation,
    https://arxiv.org/abs/1505.04597
"""

from collections.abc import Sequence

import torch
from torch import nn

from models.layers.activation import make_activation
from models.layers.convolution import Down, Up, strided_shape
from models.layers.residual import Residual


class UNet(nn.Module):
    """Strided convolutions down, transposed ones up, at each resolution a residual block on both ways; features going
    up are added to those that came down. The grid's own resolution has no features, which keeps it cheap.

    (B, c_in, n…) → (B, c_out, n…). There is no batch norm: inputs of few sensors and of many have other statistics.

    Parameters
    ----------
    c_in, c_out : channels
    shape : (nx, ny, nz) of the grid, any
    width : channels at half the grid's resolution, doubled at each further one
    halvings : of the resolution
    widest : most channels
    activation : name
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        shape: Sequence[int],
        width: int = 16,
        halvings: int = 4,
        widest: int = 64,
        activation: str = "PReLU",
    ) -> None:
        super().__init__()
        widths = [min(width << k, max(width, widest)) for k in range(halvings)]
        shapes = [tuple(shape)]
        for _ in widths:
            shapes.append(strided_shape(shapes[-1]))

        def block(channels):
            layers = Down(channels, channels, 1), make_activation(activation, channels), Down(channels, channels, 1)
            return Residual(nn.Sequential(*layers), channels)

        self.down = nn.ModuleList(
            nn.Sequential(Down(before, after), make_activation(activation, after), block(after))
            for before, after in zip([c_in, *widths[:-1]], widths, strict=True)
        )
        steps = list(zip(widths[:0:-1], widths[-2::-1], shapes[-2:0:-1], strict=True))
        self.up = nn.ModuleList(Up(before, after, at) for before, after, at in steps)
        self.blocks = nn.ModuleList(block(after) for _, after, _ in steps)
        self.last = Up(widths[0], c_out, shapes[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        for up, block, feature in zip(self.up, self.blocks, features[-2::-1], strict=True):
            x = block(up(x) + feature)
        return self.last(x)
