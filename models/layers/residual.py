"""The residual connection, and the vanilla residual block (He 2016).

He et al. 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385
He et al. 2016, Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027
Woo et al. 2018, CBAM: Convolutional Block Attention Module, https://arxiv.org/abs/1807.06521
"""

import torch
from torch import nn

from models.layers.activation import unit
from models.layers.cbam import CBAM
from models.layers.convolution import Down
from models.layers.norm import BatchNorm


class Residual(nn.Module):
    """y = x + A(F(x)), with an attention module A on the branch (as Woo 2018 places it) or none.

    The path of x stays free of activations (He 2016, Identity mappings), so blocks can be stacked deep.

    Parameters
    ----------
    body : F, from (B, C, n…) to the same shape
    channels : C
    attention : whether A is a `CBAM`
    """

    def __init__(self, body: nn.Module, channels: int, attention: bool = False) -> None:
        super().__init__()
        self.body = body
        self.attention = CBAM(channels) if attention else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attention(self.body(x))


class Vanilla(Residual):
    """Vanilla residual block (He 2016): F = W₂ ∗ σ(W₁ ∗ x) of two 3³ convolutions, normalised after each.

    (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    activation : name of σ
    attention : a `CBAM` on the branch
    inverse : for decoders, see `make_activation`
    """

    def __init__(
        self, channels: int, activation: str = "PReLU", attention: bool = False, inverse: bool = False
    ) -> None:
        first = unit(Down(channels, channels, stride=1), activation, inverse)
        body = nn.Sequential(first, Down(channels, channels, stride=1), BatchNorm(channels))
        super().__init__(body, channels, attention)
