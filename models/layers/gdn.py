"""Generalised divisive normalisation and its inverse (Ballé, Laparra & Simoncelli 2015).

Ballé et al. 2015, Density Modeling of Images using a Generalized Normalization Transformation,
    https://arxiv.org/abs/1511.06281
Ballé et al. 2016, End-to-end Optimized Image Compression, https://arxiv.org/abs/1611.01704
"""

import torch
from torch import nn
from torch.nn import functional as F

_SMALLEST = 1e-6  # of β: the root is never of zero


class GDN(nn.Module):
    """y_i = x_i / √(β_i + Σ_j γ_ij x_j²) over the channels of each point (Ballé 2015, with their ε = ½, α = 2).

    `inverse` multiplies by the root instead: one step of the fixed-point iteration that inverts it, which is what
    decoders use (Ballé 2016). β > 0 and γ > 0 hold by construction: both are softplus of what is learnt.

    (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    inverse : for decoders
    beta, gamma : start values of β and of γ's diagonal
    """

    def __init__(self, channels: int, inverse: bool = False, beta: float = 1.0, gamma: float = 0.1) -> None:
        super().__init__()
        self.inverse = inverse
        start = torch.full((channels, channels), 1e-3)  # not zero: there the softplus would have no slope
        start.fill_diagonal_(gamma)
        self.raw_beta = nn.Parameter(_softplus_inverse(torch.full((channels,), float(beta))))
        self.raw_gamma = nn.Parameter(_softplus_inverse(start))

    @property
    def beta(self) -> torch.Tensor:
        """(C,), positive."""
        return F.softplus(self.raw_beta) + _SMALLEST

    @property
    def gamma(self) -> torch.Tensor:
        """(C, C), positive."""
        return F.softplus(self.raw_gamma)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        root = F.conv3d(x * x, self.gamma[:, :, None, None, None], self.beta).sqrt()
        return x * root if self.inverse else x / root


def _softplus_inverse(y):
    return y + torch.log(-torch.expm1(-y))
