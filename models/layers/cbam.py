"""Convolutional block attention module (Woo 2018).

Woo et al. 2018, CBAM: Convolutional Block Attention Module, https://arxiv.org/abs/1807.06521
"""

import torch
from torch import nn


class ChannelGate(nn.Module):
    """x · M_c, M_c = sigmoid(MLP(mean over points) + MLP(maximum over points)), one shared MLP (Woo 2018, eq. 2).

    (B, C, n…) → the same shape; M_c is (B, C, 1, 1, 1).

    Parameters
    ----------
    channels : C
    reduction : the hidden layer has C/reduction neurons
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.shared = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.shared(x.mean((2, 3, 4))) + self.shared(x.amax((2, 3, 4)))
        return x * gate.sigmoid()[:, :, None, None, None]


class SpatialGate(nn.Module):
    """x · M_s, M_s = sigmoid(W ∗ [mean over channels; maximum over channels]), W of 7³ (Woo 2018, eq. 3).

    (B, C, n…) → the same shape; M_s is (B, 1, n…).
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(2, 1, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.convolution(torch.stack([x.mean(1), x.amax(1)], 1))
        return x * gate.sigmoid()


class CBAM(nn.Sequential):
    """The channel gate, then the spatial gate (Woo 2018, eq. 1). (B, C, n…) → the same shape."""

    def __init__(self, channels: int, reduction: int = 8, kernel: int = 7) -> None:
        super().__init__(ChannelGate(channels, reduction), SpatialGate(kernel))
