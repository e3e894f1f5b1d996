"""Features of several resolutions in one place: of an encoder (Zhou 2019), of a decoder (Lu 2019).

Mack et al. 2020, Attention-based Convolutional Autoencoders for 3D-Variational Data Assimilation,
    https://doi.org/10.1016/j.cma.2020.113291
"""

from collections.abc import Sequence

import torch
from torch import nn

from models.layers.convolution import Down
from models.layers.rab import Resize


class MultiScaleEncoder(nn.Module):
    """[D_{2^K} ∗ f_1; …; D_2 ∗ f_K; f_{K+1}]: features of all stages at the last one's resolution (Zhou 2019).

    D_s is one 3³ convolution with stride s, so that what a field shows at a fine scale reaches the latent without
    passing all stages.

    Parameters
    ----------
    channels : of each of the K stages before the last, finest first; each of twice the resolution of the next
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(Down(c, c, 2 ** (len(channels) - k)) for k, c in enumerate(channels))

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """K + 1 features (B, C_k, ⌈n/2^k⌉…), finest first → (B, Σ C_k, the last one's shape)."""
        *fine, last = features
        return torch.cat([path(each) for path, each in zip(self.paths, fine, strict=True)] + [last], 1)


class MultiScaleDecoder(nn.Module):
    """W ∗ [↑(V_1 ∗ f_1); …; ↑(V_K ∗ f_K); f_{K+1}]: coarse features joined to the finest (Lu 2019).

    V_k is 1³ and stands before the trilinear interpolation ↑, with which it commutes; W is 3³ back to C channels.

    Parameters
    ----------
    channels : C of each feature
    before : K, stages before the finest
    shape : (nx, ny, nz) of the finest
    """

    def __init__(self, channels: int, before: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.Sequential(Down(channels, channels, 1, 1), Resize(shape, 2 ** (before - k))) for k in range(before)
        )
        self.fusion = Down((before + 1) * channels, channels, stride=1)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """K + 1 features (B, C, …), coarsest first → (B, C, nx, ny, nz)."""
        *coarse, finest = features
        return self.fusion(torch.cat([path(each) for path, each in zip(self.paths, coarse, strict=True)] + [finest], 1))
