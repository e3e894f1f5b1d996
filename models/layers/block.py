"""Residual blocks by name: "vanilla", "NeXt" or "Inception", with "+CBAM" or without."""

from models.layers.inception import Inception
from models.layers.next import NeXt
from models.layers.residual import Residual, Vanilla
from models.names.nearest import unknown

_KINDS = {"vanilla": Vanilla, "NeXt": NeXt, "Inception": Inception}
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
