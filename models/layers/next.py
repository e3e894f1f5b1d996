"""NeXt block: residual with a bottleneck and cardinality (Xie 2017).

Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
"""

from typing import cast

from torch import nn

from models.layers.activation import unit
from models.layers.convolution import Down
from models.layers.norm import BatchNorm
from models.layers.residual import Residual


class NeXt(Residual):
    """y = x + Σ_{i ≤ N} T_i(x), T_i = 1³ down to C/(b·N) channels, 3³, 1³ up (ResNeXt, Xie 2017, eq. 2).

    The N paths are one grouped convolution between two 1³ ones (their Figure 3c, which is equal to 3a).
    (B, C, n…) → the same shape.

    Parameters
    ----------
    channels : C
    activation, attention, inverse : as for `Vanilla`
    bottleneck : b, 4 in Mack et al. 2020
    cardinality : N, must divide C/b

    Raises
    ------
    ValueError
        if C/b is no whole multiple of N
    """

    def __init__(
        self,
        channels: int,
        activation: str = "PReLU",
        attention: bool = False,
        inverse: bool = False,
        bottleneck: int = 4,
        cardinality: int = 1,
    ) -> None:
        inner = max(1, channels // bottleneck)
        if inner % cardinality:
            raise ValueError(f"{inner} channels in the bottleneck do not divide into {cardinality} paths")
        middle = nn.Conv3d(inner, inner, 3, padding=1, groups=cardinality)
        super().__init__(
            bottleneck_body(channels, unit(middle, activation, inverse), activation, inverse), channels, attention
        )


def bottleneck_body(channels: int, middle: nn.Sequential, activation: str, inverse: bool) -> nn.Sequential:
    """1³ down to the channels that `middle` takes and gives, `middle`, 1³ up, normalised."""
    inner = cast(int, middle[0].in_channels)
    return nn.Sequential(
        unit(Down(channels, inner, 1, 1), activation, inverse),
        middle,
        Down(inner, channels, 1, 1),
        BatchNorm(channels),
    )
