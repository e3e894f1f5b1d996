"""Tucodec: attention and several scales (Zhou 2019, in three dimensions).

Mack et al. 2020, Attention-based Convolutional Autoencoders for 3D-Variational Data Assimilation,
    https://doi.org/10.1016/j.cma.2020.113291
Zhang et al. 2019, Residual Non-local Attention Networks for Image Restoration, https://arxiv.org/abs/1903.10082
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from models.layers.activation import make_activation
from models.layers.block import make_block
from models.layers.convolution import Down, Shape, Up
from models.layers.multiscale import MultiScaleDecoder, MultiScaleEncoder
from models.layers.rab import RAB
from models.zoo.autoencoder import Mask
from models.zoo.coarsening import Coarsening


class TucodecEncoder(nn.Module):
    """Four strided convolutions, activations after the first three, a RAB after the second and the fourth; the
    features of all four at the last one's resolution, side by side; a strided convolution to the latent."""

    def __init__(
        self,
        channels: int,
        shapes: Sequence[Shape],
        latent_channels: int,
        width: int,
        block: str,
        activation: str,
        stages: str,
    ) -> None:
        super().__init__()
        rabs = {stage: RAB(width, shapes[stage], block, activation) for stage in (2, 4)}
        self.stages = nn.ModuleList(
            nn.Sequential(
                Down(channels if stage == 1 else width, width),
                *([make_activation(stages, width)] if stage < 4 else []),
                *([rabs[stage]] if stage in rabs else []),
            )
            for stage in range(1, 5)
        )
        self.scales = MultiScaleEncoder(width, 3)
        self.last = Down(4 * width, latent_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.last(self.scales(features))


def tucodec_decoder_stages(
    shapes: Sequence[Shape], latent_channels: int, width: int, block: str, activation: str, stages: str
) -> list[list[nn.Module]]:
    """The mirror image, without the scales: up, two residual blocks, RAB; up, activation; up, RAB, activation; up,
    activation. Lists of layers, one for each resolution but the grid's own."""

    def after():
        return make_activation(stages, width, inverse=True)

    def attention(shape):
        return RAB(width, shape, block, activation, inverse=True)

    blocks = [make_block(block, width, activation, inverse=True) for _ in range(2)]
    return [
        [Up(latent_channels, width, shapes[4]), *blocks, attention(shapes[4])],
        [Up(width, width, shapes[3]), after()],
        [Up(width, width, shapes[2]), attention(shapes[2]), after()],
        [Up(width, width, shapes[1]), after()],
    ]


class TucodecMultiScaleDecoder(nn.Module):
    """Decoder stages whose last three resolutions are joined before the last step up (Lu 2019)."""

    def __init__(
        self, stages: Iterable[Iterable[nn.Module]], width: int, shape: Sequence[int], last: nn.Module
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Sequential(*layers) for layers in stages)
        self.scales, self.last = MultiScaleDecoder(width, 2, shape), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.last(self.scales(features[1:]))


class Tucodec(Coarsening):
    """Tucodec of Mack et al. 2020: 2.4 M parameters with NeXt blocks, 10.5 M with vanilla ones.

    Chosen: trilinear interpolation on the way up in the RABs; the two residual blocks after the decoder's first
    transposed convolution, where the latent has been brought to `width` channels.

    Parameters
    ----------
    channels, shape, n_latent, mask : as for `Coarsening`
    width : channels of all features
    block, activation : names, of the residual blocks and inside them
    stages : name of the activation between the strided convolutions
    multiscale_decoder : whether the decoder joins its resolutions, too (Lu 2019)
    """

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        *,
        n_latent: int | None = None,
        width: int = 64,
        block: str = "NeXt",
        activation: str = "PReLU",
        mask: Mask = None,
        stages: str = "GDN",
        multiscale_decoder: bool = False,
    ) -> None:
        super().__init__(channels, shape, n_latent, mask)
        kinds = (width, block, activation, stages)
        self.encoder = TucodecEncoder(self.channels, self.shapes, self.latent_channels, *kinds)
        layers = tucodec_decoder_stages(self.shapes, self.latent_channels, *kinds)
        last = Up(width, self.channels, self.shapes[0])
        if multiscale_decoder:
            self.decoder: nn.Module = TucodecMultiScaleDecoder(layers, width, self.shapes[1], last)
        else:
            self.decoder = nn.Sequential(*(layer for stage in layers for layer in stage), last)
