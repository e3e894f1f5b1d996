"""Strided convolutions with a body of blocks in between: Backbone, ResNeXt, RDB, RAB and GRDN networks.

They differ in the body. It stands after the third halving in the encoder, and at the same place in the decoder,
with parameters of its own. Where Mack et al. 2020 leave sizes open they were chosen so that the numbers of
parameters come near to those of their Table 1; each function says which.

Mack et al. 2020, Attention-based Convolutional Autoencoders for 3D-Variational Data Assimilation,
    https://doi.org/10.1016/j.cma.2020.113291
Theis et al. 2017, Lossy Image Compression with Compressive Autoencoders, https://arxiv.org/abs/1703.00395
Xie et al. 2017, Aggregated Residual Transformations for Deep Neural Networks, https://arxiv.org/abs/1611.05431
Kim et al. 2019, GRDN: Grouped Residual Dense Network for Real Image Denoising and GAN-based Real-world Noise
    Modeling, https://arxiv.org/abs/1905.11172
Zhang et al. 2019, Residual Non-local Attention Networks for Image Restoration, https://arxiv.org/abs/1903.10082
"""

from collections.abc import Callable, Sequence

from torch import nn

from models.layers.activation import unit
from models.layers.block import make_block
from models.layers.convolution import Down, Shape
from models.layers.dense import RDB
from models.layers.grouped_dense import GRDB
from models.layers.paths import Paths
from models.layers.rab import RAB
from models.layers.shuffle import make_up
from models.zoo.autoencoder import Mask
from models.zoo.coarsening import Coarsening, Width

BODY_STAGE = 3
PATH_WIDTH = 18  # brings ResNeXt3-27-1-vanilla+CBAM to 3.5 M and RDB3-27-4-vanilla+CBAM to 23.8 M
Body = Callable[[int, Shape, bool], nn.Module]


class Stack(Coarsening):
    """Encoder: four units of strided convolution, norm and activation, the body after the third, a last strided
    convolution to the latent. Decoder: the mirror image with transposed convolutions.

    Parameters
    ----------
    channels, shape, n_latent, mask : as for `Coarsening`
    width : channels of all features, or of those of each of the four resolutions, finest first
    activation : name
    body : body(width, shape, inverse) → module at that resolution, inverse in the decoder; or None
    decoder_width : as `width`, of the decoder; None for the encoder's
    upsampling : name of the steps up (:mod:`models.layers.shuffle`)
    """

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        n_latent: int | None,
        width: Width,
        activation: str,
        body: Body | None = None,
        mask: Mask = None,
        decoder_width: Width | None = None,
        upsampling: str = "transposed",
    ) -> None:
        super().__init__(channels, shape, n_latent, mask, width, decoder_width)
        widths, back = self.widths, self.decoder_widths
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for stage, (c_in, c_out) in enumerate(zip((channels, *widths), widths, strict=False), 1):
            encoder.append(unit(Down(c_in, c_out), activation))
            if stage == BODY_STAGE and body:
                encoder.append(body(c_out, self.shapes[stage], False))
        encoder.append(Down(widths[-1], self.latent_channels))
        for stage, c_in, c_out in zip((4, 3, 2, 1), (self.latent_channels, *back[::-1]), back[::-1], strict=False):
            decoder.append(unit(make_up(upsampling, c_in, c_out, self.shapes[stage]), activation, inverse=True))
            if stage == BODY_STAGE and body:
                decoder.append(body(c_out, self.shapes[stage], True))
        decoder.append(make_up(upsampling, back[0], channels, self.shapes[0]))
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)


def backbone(
    channels: int,
    shape: Sequence[int],
    *,
    n_latent: int | None = None,
    width: Width = 32,
    activation: str = "PReLU",
    mask: Mask = None,
    decoder_width: Width | None = None,
    upsampling: str = "transposed",
) -> Stack:
    """Backbone: strided convolutions and nothing else (after Theis 2017), 0.28 M parameters.

    Chosen: 32 channels; all kernels 3³ instead of 5²; transposed convolutions instead of sub-pixel ones, which are
    the same maps with other weights.
    """
    return Stack(channels, shape, n_latent, width, activation, None, mask, decoder_width, upsampling)


def resnext(
    channels: int,
    shape: Sequence[int],
    *,
    layers: int,
    cardinality: int,
    depth: int,
    n_latent: int | None = None,
    width: Width = 32,
    path_width: int = PATH_WIDTH,
    block: str = "vanilla",
    activation: str = "PReLU",
    mask: Mask = None,
    decoder_width: Width | None = None,
    upsampling: str = "transposed",
) -> Stack:
    """ResNeXt<layers>-<cardinality>-<depth>: layers of parallel residual blocks (Xie 2017), 3.5 M parameters.

    Chosen: 32 channels, paths of 18 channels between 1³ convolutions.
    """

    def path(shape, inverse):
        return nn.Sequential(*(make_block(block, path_width, activation, inverse) for _ in range(depth)))

    body = _layers_of_paths(layers, cardinality, path_width, path)
    return Stack(channels, shape, n_latent, width, activation, body, mask, decoder_width, upsampling)


def rdb(
    channels: int,
    shape: Sequence[int],
    *,
    layers: int,
    cardinality: int,
    growth: int,
    n_latent: int | None = None,
    width: Width = 32,
    path_width: int = PATH_WIDTH,
    depth: int = 4,
    block: str = "vanilla",
    activation: str = "PReLU",
    mask: Mask = None,
    decoder_width: Width | None = None,
    upsampling: str = "transposed",
) -> Stack:
    """RDB<layers>-<cardinality>-<growth>: layers of parallel residual dense blocks (Kim 2019), 23.8 M parameters.

    Chosen: 32 channels, paths of 18 channels between 1³ convolutions, four dense layers in each, with a residual
    block before each growing convolution.
    """

    def path(shape, inverse):
        return RDB(path_width, growth, depth, block, activation, inverse)

    body = _layers_of_paths(layers, cardinality, path_width, path)
    return Stack(channels, shape, n_latent, width, activation, body, mask, decoder_width, upsampling)


def rab(
    channels: int,
    shape: Sequence[int],
    *,
    number: int,
    n_latent: int | None = None,
    width: Width = 44,
    block: str = "NeXt",
    activation: str = "PReLU",
    mask: Mask = None,
    decoder_width: Width | None = None,
    upsampling: str = "transposed",
) -> Stack:
    """RAB-<number>: residual attention blocks (Zhang 2019) in a row, 1.3 M parameters.

    Chosen: as many in the decoder as in the encoder, 44 channels.
    """

    def body(width, shape, inverse):
        return nn.Sequential(*(RAB(width, shape, block, activation, inverse) for _ in range(number)))

    return Stack(channels, shape, n_latent, width, activation, body, mask, decoder_width, upsampling)


def grdn(
    channels: int,
    shape: Sequence[int],
    *,
    groups: int = 4,
    growth: int = 16,
    depth: int = 4,
    n_latent: int | None = None,
    width: Width = 32,
    block: str = "NeXt",
    activation: str = "PReLU",
    mask: Mask = None,
    decoder_width: Width | None = None,
    upsampling: str = "transposed",
) -> Stack:
    """GRDN: grouped residual dense blocks (Kim 2019), 4.7 M parameters.

    32 channels and CBAM as Mack et al. 2020; four groups of four dense blocks as Kim 2019. Chosen: four dense layers
    of growth 16 in each, with a residual block before each growing convolution.
    """

    def body(width, shape, inverse):
        return nn.Sequential(*(GRDB(width, growth, depth, block, activation, inverse) for _ in range(groups)))

    return Stack(channels, shape, n_latent, width, activation, body, mask, decoder_width, upsampling)


def _layers_of_paths(layers, cardinality, path_width, path):
    def body(width, shape, inverse):
        return nn.Sequential(
            *(Paths(width, [path(shape, inverse) for _ in range(cardinality)], path_width) for _ in range(layers))
        )

    return body
