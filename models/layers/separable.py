"""NeXt block whose 3³ convolution works on each channel alone (Howard 2017).

Howard et al. 2017, MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,
    https://arxiv.org/abs/1704.04861
Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
"""

from torch import nn

from models.layers.next import NeXt


class Separable(NeXt):
    """`NeXt` with as many paths as channels in the bottleneck: a depthwise 3³ between pointwise convolutions.

    27 products for a value between the 1³ convolutions, in place of 27 C/b. (B, C, n…) → the same shape. Parameters are
    those of `NeXt`, but for its cardinality.
    """

    @staticmethod
    def convolutions(inner: int, cardinality: int) -> list[nn.Module]:
        """A 3³ of each channel alone."""
        return NeXt.convolutions(inner, inner)
