"""Many narrow paths side by side, whatever each of them is (cardinality; Xie 2017).

Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
"""

from collections.abc import Iterable

import torch
from torch import nn

from models.layers.convolution import Down
from models.layers.norm import BatchNorm


class Paths(nn.Module):
    """y = x + Σ_{i ≤ N} U_i ∗ P_i(D_i ∗ x), D_i and U_i of 1³ (Xie 2017, eq. 2, with any path P_i).

    The D_i are one convolution and so are the U_i, whose sum over paths is the sum over its input channels.
    (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    paths : sequence of N modules, (B, width, n…) → the same shape
    width : channels of each path
    """

    def __init__(self, channels: int, paths: Iterable[nn.Module], width: int) -> None:
        super().__init__()
        self.width = width
        self.paths = nn.ModuleList(paths)
        self.reduce = nn.Sequential(Down(channels, width * len(self.paths), 1, 1), BatchNorm(width * len(self.paths)))
        self.expand = nn.Sequential(Down(width * len(self.paths), channels, 1, 1), BatchNorm(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.reduce(x).split(self.width, 1)
        return x + self.expand(torch.cat([path(part) for path, part in zip(self.paths, parts, strict=True)], 1))
