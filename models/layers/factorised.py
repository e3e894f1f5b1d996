"""NeXt block whose 3³ convolution is a line along each axis (Szegedy 2016; Qiu 2017).

Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, https://arxiv.org/abs/1512.00567
Qiu et al. 2017, Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks,
    https://arxiv.org/abs/1711.10305
Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
"""

from torch import nn

from models.layers.next import NeXt


class Factorised(NeXt):
    """y = x + U ∗ X ∗ Y ∗ Z ∗ D ∗ x: 1³ down to C/b channels, 1×1×3, 1×3×1, 3×1×1, 1³ up.

    A third of the weights and products of `NeXt` between its 1³ convolutions. Nothing stands between the three lines
    (Szegedy 2016, §3.2), so that together they are a 3³ convolution of low rank. (B, C, n…) → the same shape.
    Parameters are those of `NeXt`, but for its cardinality.
    """

    @staticmethod
    def convolutions(inner: int, cardinality: int) -> list[nn.Module]:
        """A line along each axis."""
        return [
            nn.Conv3d(inner, inner, (1, 1, 3), padding=(0, 0, 1), bias=False),
            nn.Conv3d(inner, inner, (1, 3, 1), padding=(0, 1, 0), bias=False),
            nn.Conv3d(inner, inner, (3, 1, 1), padding=(1, 0, 0)),
        ]
