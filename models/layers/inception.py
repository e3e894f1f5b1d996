"""Parallel filters of several sizes (Inception, Szegedy 2015).

Szegedy et al. 2015, Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842
Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, https://arxiv.org/abs/1512.00567
Szegedy et al. 2017, Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
    https://arxiv.org/abs/1602.07261
"""

import torch
from torch import nn

from models.layers.activation import unit
from models.layers.convolution import Down
from models.layers.norm import BatchNorm
from models.layers.residual import Residual


class ParallelFilters(nn.Module):
    """Branches side by side, concatenated: [1³; 1³→3³; 1³→3³→3³; maximum of 3³→1³] (Szegedy 2015, Figure 2b).

    Two 3³ stand for their 5², as in Szegedy 2016. (B, c_in, n…) → (B, 4·width, n…).

    Parameters
    ----------
    c_in : channels
    width : channels of each branch
    activation, inverse : as for `Vanilla`
    """

    def __init__(self, c_in: int, width: int, activation: str = "PReLU", inverse: bool = False) -> None:
        super().__init__()

        def convolve(c, kernel):
            return unit(Down(c, width, 1, kernel), activation, inverse)

        self.branches = nn.ModuleList(
            [
                convolve(c_in, 1),
                nn.Sequential(convolve(c_in, 1), convolve(width, 3)),
                nn.Sequential(convolve(c_in, 1), convolve(width, 3), convolve(width, 3)),
                nn.Sequential(nn.MaxPool3d(3, 1, 1), convolve(c_in, 1)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Inception(Residual):
    """y = x + W ∗ [parallel filters of x], W of 1³ (Inception-ResNet, Szegedy 2017).

    (B, C, n…) → the same shape; parameters as for `Vanilla`. Each branch has C/4 channels.
    """

    def __init__(
        self, channels: int, activation: str = "PReLU", attention: bool = False, inverse: bool = False
    ) -> None:
        width = max(1, channels // 4)
        body = nn.Sequential(
            ParallelFilters(channels, width, activation, inverse),
            Down(4 * width, channels, 1, 1),
            BatchNorm(channels),
        )
        super().__init__(body, channels, attention)
