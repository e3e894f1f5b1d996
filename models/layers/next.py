"""NeXt block: residual with a bottleneck and cardinality (Xie 2017).

Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
"""

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
        *before, last = self.convolutions(inner, cardinality)
        body = nn.Sequential(
            unit(Down(channels, inner, 1, 1), activation, inverse),
            nn.Sequential(*before, *unit(last, activation, inverse)),
            Down(inner, channels, 1, 1),
            BatchNorm(channels),
        )
        super().__init__(body, channels, attention)

    @staticmethod
    def convolutions(inner: int, cardinality: int) -> list[nn.Module]:
        """What stands between the 1³ convolutions, `inner` channels in and out."""
        if inner % cardinality:
            raise ValueError(f"{inner} channels in the bottleneck do not divide into {cardinality} paths")
        return [nn.Conv3d(inner, inner, 3, padding=1, groups=cardinality)]
