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
from models.layers.convolution import Down, Shape
from models.layers.multiscale import MultiScaleDecoder, MultiScaleEncoder
from models.layers.rab import RAB
from models.layers.shuffle import make_up
from models.zoo.autoencoder import Mask
from models.zoo.coarsening import Coarsening, Width


class TucodecEncoder(nn.Module):
    """Four strided convolutions, activations after the first three, a RAB after the second and the fourth; the
    features of all four at the last one's resolution, side by side; a strided convolution to the latent."""

    def __init__(
        self,
        channels: int,
        shapes: Sequence[Shape],
        latent_channels: int,
        widths: Sequence[int],
        block: str,
        activation: str,
        stages: str,
    ) -> None:
        super().__init__()
        rabs = {stage: RAB(widths[stage - 1], shapes[stage], block, activation) for stage in (2, 4)}
        self.stages = nn.ModuleList(
            nn.Sequential(
                Down(before, width),
                *([make_activation(stages, width)] if stage < 4 else []),
                *([rabs[stage]] if stage in rabs else []),
            )
            for stage, (before, width) in enumerate(zip((channels, *widths), widths, strict=False), 1)
        )
        self.scales = MultiScaleEncoder(widths[:-1])
        self.last = Down(sum(widths), latent_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return self.last(self.scales(features))


def tucodec_decoder_stages(
    shapes: Sequence[Shape],
    latent_channels: int,
    widths: Sequence[int],
    block: str,
    activation: str,
    stages: str,
    upsampling: str,
) -> list[list[nn.Module]]:
    """The mirror image, without the scales: up, two residual blocks, RAB; up, activation; up, RAB, activation; up,
    activation. Lists of layers, one for each resolution but the grid's own."""
    fine, half, quarter, coarse = widths

    def up(c_in, width, stage):
        return make_up(upsampling, c_in, width, shapes[stage])

    def after(width):
        return make_activation(stages, width, inverse=True)

    def attention(width, shape):
        return RAB(width, shape, block, activation, inverse=True)

    blocks = [make_block(block, coarse, activation, inverse=True) for _ in range(2)]
    return [
        [up(latent_channels, coarse, 4), *blocks, attention(coarse, shapes[4])],
        [up(coarse, quarter, 3), after(quarter)],
        [up(quarter, half, 2), attention(half, shapes[2]), after(half)],
        [up(half, fine, 1), after(fine)],
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
    width : channels of all features, or of those of each of the four resolutions, finest first
    block, activation : names, of the residual blocks and inside them
    stages : name of the activation between the strided convolutions
    multiscale_decoder : whether the decoder joins its resolutions, too (Lu 2019); for one width at all of them
    decoder_width : as `width`, of the decoder; None for the encoder's
    upsampling : name of the steps up (:mod:`models.layers.shuffle`)
    """

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        *,
        n_latent: int | None = None,
        width: Width = 64,
        block: str = "NeXt",
        activation: str = "PReLU",
        mask: Mask = None,
        stages: str = "GDN",
        multiscale_decoder: bool = False,
        decoder_width: Width | None = None,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__(channels, shape, n_latent, mask, width, decoder_width)
        widths, back = self.widths, self.decoder_widths
        if multiscale_decoder and len(set(back)) > 1:
            raise ValueError(f"multiscale_decoder joins features of one width, the decoder has {list(back)}")
        kinds = (block, activation, stages)
        self.encoder = TucodecEncoder(self.channels, self.shapes, self.latent_channels, widths, *kinds)
        layers = tucodec_decoder_stages(self.shapes, self.latent_channels, back, *kinds, upsampling)
        last = make_up(upsampling, back[0], self.channels, self.shapes[0])
        if multiscale_decoder:
            self.decoder: nn.Module = TucodecMultiScaleDecoder(layers, back[0], self.shapes[1], last)
        else:
            self.decoder = nn.Sequential(*(layer for stage in layers for layer in stage), last)
