"""Residual attention block with a trunk and a mask branch (Zhang 2019).

Zhang et al. 2019, Residual Non-local Attention Networks for Image Restoration, https://arxiv.org/abs/1903.10082
Wang et al. 2017, Residual Attention Network for Image Classification, https://arxiv.org/abs/1704.06904
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from models.layers.activation import unit
from models.layers.block import make_block
from models.layers.convolution import Down, strided_shape


class Resize(nn.Module):
    """Trilinear interpolation to a given shape, as Wang 2017 bring attention masks back.

    (B, C, ⌈n/s⌉…) → (B, C, n…).

    Parameters
    ----------
    shape : (nx, ny, nz) of the result
    stride : s
    """

    def __init__(self, shape: Sequence[int], stride: int = 2) -> None:
        super().__init__()
        self.out_shape, self.in_shape = tuple(shape), strided_shape(shape, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=self.out_shape, mode="trilinear", align_corners=False)


class RAB(nn.Module):
    """y = x + T(x) · sigmoid(M(x)) (local attention block of Zhang 2019, as used by Zhou 2019).

    T, the trunk: three residual blocks. M, the mask: two blocks, three layers down (1³, 3³ with stride 2, 1³), two
    blocks, up to the old shape, two blocks, a 1³ convolution; at half the resolution it sees twice as far.
    (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    shape : (nx, ny, nz) of the features
    block : name of the residual blocks
    activation, inverse : as for `make_block`
    gate : whether the mask goes through the sigmoid; without, y = x + T·M
    """

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        block: str = "NeXt",
        activation: str = "PReLU",
        inverse: bool = False,
        gate: bool = True,
    ) -> None:
        super().__init__()

        def blocks(n):
            return nn.Sequential(*(make_block(block, channels, activation, inverse) for _ in range(n)))

        def convolve(stride, kernel):
            return unit(Down(channels, channels, stride, kernel), activation, inverse)

        self.trunk = blocks(3)
        self.mask = nn.Sequential(
            blocks(2),
            nn.Sequential(convolve(1, 1), convolve(2, 3), convolve(1, 1)),
            blocks(2),
            Resize(shape),
            blocks(2),
            Down(channels, channels, 1, 1),
            nn.Sigmoid() if gate else nn.Identity(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.trunk(x) * self.mask(x)
