"""Activations by name, and what follows a convolution.

Nair & Hinton 2010, Rectified Linear Units Improve Restricted Boltzmann Machines,
    https://www.cs.toronto.edu/~hinton/absps/reluICML.pdf
He et al. 2015, Delving Deep into Rectifiers, https://arxiv.org/abs/1502.01852
Ballé et al. 2015, Density Modeling of Images using a Generalized Normalization Transformation,
    https://arxiv.org/abs/1511.06281
Ioffe & Szegedy 2015, Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift, https://arxiv.org/abs/1502.03167
"""

from typing import cast

from torch import nn

from models.layers.gdn import GDN
from models.layers.norm import BatchNorm
from models.names.choices import ACTIVATIONS
from models.names.nearest import unknown


def make_activation(name: str, channels: int, inverse: bool = False) -> nn.Module:
    """An activation by its name.

    Parameters
    ----------
    name : "ReLU", max(x, 0) (Nair & Hinton 2010); "PReLU", max(x, 0) + a_c min(x, 0) with a slope for each channel,
        0.25 at the start (He 2015); "GDN" (Ballé 2015)
    channels : C of (B, C, n…)
    inverse : for decoders: GDN becomes its inverse, the others stay

    Raises
    ------
    ValueError
        for another name, with the nearest known one
    """
    if name == "PReLU":
        return nn.PReLU(channels)
    if name == "ReLU":
        return nn.ReLU()
    if name == "GDN":
        return GDN(channels, inverse)
    raise unknown("activation", name, ACTIVATIONS)


def unit(convolution: nn.Module, activation: str, inverse: bool = False) -> nn.Sequential:
    """A convolution or a step up, batch norm (Ioffe & Szegedy 2015) and an activation, one after the other.

    GDN normalises by itself and comes without batch norm. The order lets the norm be folded into the convolution
    once training is over (:mod:`models.inference`).
    """
    channels = cast(int, convolution.out_channels)
    norm = [] if activation == "GDN" else [BatchNorm(channels)]
    return nn.Sequential(convolution, *norm, make_activation(activation, channels, inverse))
