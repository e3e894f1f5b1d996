"""Grouped residual dense block (GRDB; Kim 2019).

Kim et al. 2019, GRDN: Grouped Residual Dense Network for Real Image Denoising and GAN-based Real-world Noise
    Modeling, https://arxiv.org/abs/1905.11172
"""

import torch
from torch import nn

from models.layers.convolution import Down
from models.layers.dense import RDB


class GRDB(nn.Module):
    """y = x + W ∗ [d_1, …, d_K], d_k = RDB_k(d_{k−1}), d_0 = x, W of 1³ (Kim 2019, Figure 3).

    (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    growth, layers, block, activation, inverse : of each `RDB`
    group : K
    """

    def __init__(
        self,
        channels: int,
        growth: int,
        layers: int,
        block: str | None = None,
        activation: str = "PReLU",
        inverse: bool = False,
        group: int = 4,
    ) -> None:
        super().__init__()
        self.group = nn.ModuleList(RDB(channels, growth, layers, block, activation, inverse) for _ in range(group))
        self.fusion = Down(group * channels, channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [x]
        for block in self.group:
            features.append(block(features[-1]))
        return x + self.fusion(torch.cat(features[1:], 1))
