"""Residual dense block (RDB; Zhang 2018, Kim 2019).

Zhang et al. 2018, Residual Dense Network for Image Super-Resolution, https://arxiv.org/abs/1802.08797
Kim et al. 2019, GRDN: Grouped Residual Dense Network for Real Image Denoising and GAN-based Real-world Noise
    Modeling, https://arxiv.org/abs/1905.11172
"""

import torch
from torch import nn

from models.layers.activation import unit
from models.layers.block import make_block
from models.layers.convolution import Down


class RDB(nn.Module):
    """y = x + W ∗ [x, f_1, …, f_L], f_l = σ(W_l ∗ B_l([x, f_1, …, f_{l−1}])) (RDN, Zhang 2018; Kim 2019).

    W_l is 3³ and gives `growth` channels, W is 1³ (local feature fusion). B_l is a residual block by name, or
    nothing, which is the papers' block. (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    growth : channels of each f_l
    layers : L
    block : name of the residual blocks, or None
    activation, inverse : as for `make_block`
    """

    def __init__(
        self,
        channels: int,
        growth: int,
        layers: int,
        block: str | None = None,
        activation: str = "PReLU",
        inverse: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for width in range(channels, channels + layers * growth, growth):
            before = [make_block(block, width, activation, inverse)] if block else []
            self.layers.append(nn.Sequential(*before, unit(Down(width, growth, stride=1), activation, inverse)))
        self.fusion = Down(channels + layers * growth, channels, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x
        for layer in self.layers:
            features = torch.cat([features, layer(features)], 1)
        return x + self.fusion(features)
