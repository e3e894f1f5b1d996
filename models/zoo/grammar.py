"""The names of networks: those of the table, and what else can be spelled with their parts.

    Backbone
    ResNeXt<layers>-<parallel blocks>-<depth>-<block>
    RDB<layers>-<parallel blocks>-<growth>-<block>
    RAB-<number>-<block>
    GRDN-<block>
    Tucodec-<block>
    PCA-UNet
    PCA-<block>
    PCA-RAB-<number>-<block>
    PCA-Tucodec-<block>

Those of PCA begin as principal components of blocks of the grid (:mod:`models.zoo.corrected`).
<block> is a name of `models.layers.block.BLOCKS`. Any of them may end with -<activation>.
"""

import re
from dataclasses import dataclass, field
from functools import partial

from models.layers.activation import ACTIVATIONS
from models.layers.block import BLOCKS
from models.names.nearest import unknown
from models.zoo.corrected import Corrected, CorrectedCodes
from models.zoo.stack import backbone, grdn, rab, rdb, resnext
from models.zoo.tucodec import Tucodec

NAMES = (
    "Backbone",
    "ResNeXt3-27-1-vanilla+CBAM",
    "RDB3-27-4-vanilla+CBAM",
    "RAB-4-NeXt",
    "GRDN-NeXt+CBAM",
    "Tucodec-NeXt",
    "Tucodec-vanilla",
)
PCA_NAMES = ("PCA-UNet", "PCA-NeXt", "PCA-RAB-2-NeXt", "PCA-Tucodec-NeXt")
_FAMILIES = (
    (r"Backbone", backbone, False),
    (r"ResNeXt(?P<layers>\d+)-(?P<cardinality>\d+)-(?P<depth>\d+)", resnext, True),
    (r"RDB(?P<layers>\d+)-(?P<cardinality>\d+)-(?P<growth>\d+)", rdb, True),
    (r"RAB-(?P<number>\d+)", rab, True),
    (r"GRDN", grdn, True),
    (r"Tucodec", Tucodec, True),
    (r"PCA-UNet", partial(Corrected, net="UNet"), False),
    (r"PCA-RAB-(?P<number>\d+)", partial(Corrected, net="RAB"), True),
    (r"PCA-Tucodec", CorrectedCodes, True),
    (r"PCA", partial(Corrected, net="blocks"), True),
)


@dataclass(frozen=True)
class Spelled:
    """A name taken apart.

    build : build(channels, shape, **options) → Autoencoder
    options : what the name says of them
    blocks : whether the network has residual blocks to choose
    """

    build: object
    options: dict = field(default_factory=dict)
    blocks: bool = True


def spell(name: str) -> Spelled:
    """Take a network's name apart.

    Raises
    ------
    ValueError
        if it is none, with the nearest name of the table
    """
    words, options = str(name).split("-"), {}
    if words[-1] in ACTIVATIONS:
        options["activation"] = words.pop()
    if words and words[-1] in BLOCKS:
        options["block"] = words.pop()
    for pattern, build, blocks in _FAMILIES:
        match = re.fullmatch(pattern, "-".join(words))
        if match and (blocks or "block" not in options):
            numbers = {key: int(value) for key, value in match.groupdict().items()}
            if min(numbers.values(), default=1) < 1:
                raise ValueError(f"network {name!r}: its numbers must be 1 or more")
            return Spelled(build, {**numbers, **options}, blocks)
    raise unknown("network", name, (*NAMES, *PCA_NAMES))
