"""Residual blocks by name: "vanilla", "NeXt", "Factorised", "Separable" or "Inception", with "+CBAM" or without.

He et al. 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385
Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
Szegedy et al. 2017, Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
    https://arxiv.org/abs/1602.07261
Woo et al. 2018, CBAM: Convolutional Block Attention Module, https://arxiv.org/abs/1807.06521
"""

from collections.abc import Callable

from models.layers.factorised import Factorised
from models.layers.inception import Inception
from models.layers.next import NeXt
from models.layers.residual import Residual, Vanilla
from models.layers.separable import Separable
from models.names.nearest import unknown

_KINDS: dict[str, Callable[..., Residual]] = {
    "vanilla": Vanilla,
    "NeXt": NeXt,
    "Factorised": Factorised,
    "Separable": Separable,
    "Inception": Inception,
}
BLOCKS = tuple(f"{kind}{attention}" for kind in _KINDS for attention in ("", "+CBAM"))


def make_block(name: str, channels: int, activation: str = "PReLU", inverse: bool = False) -> Residual:
    """A residual block, (B, C, n…) → the same shape.

    Parameters
    ----------
    name : one of `BLOCKS`
    channels : C
    activation : name of an activation, see `make_activation`
    inverse : for decoders, see `make_activation`

    Raises
    ------
    ValueError
        for another name, with the nearest known one
    """
    if name not in BLOCKS:
        raise unknown("block", name, BLOCKS)
    kind, _, attention = name.partition("+")
    return _KINDS[kind](channels, activation, bool(attention), inverse)
