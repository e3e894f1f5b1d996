"""What all networks of the zoo share: five halvings of the grid, a latent of some channels on the coarsest."""

import math
from collections.abc import Sequence

from models.layers.convolution import Shape, strided_shape
from models.zoo.autoencoder import Autoencoder, Mask, grid_shape

HALVINGS = 5
Width = int | Sequence[int]  # channels of features: of all resolutions, or of each, the finest first
LATENT_CHANNELS = 64  # of the coarsest grid: 576 = 64·3·3·1 at 91×85×32 (Mack et al. 2020), about 0.002 n anywhere


class Coarsening(Autoencoder):
    """Base of the networks with five halvings.

    Parameters
    ----------
    channels, shape, mask : as for `Autoencoder`
    n_latent : numbers in the latent vector, a multiple of the coarsest grid's points; None for 64 for each
    width, decoder_width : as `stage_widths` takes them; None for the encoder's

    Attributes
    ----------
    shapes : the grid's shape and those after each halving, six in all
    latent_channels : n_latent over the coarsest grid's points
    widths, decoder_widths : channels of the features after each halving but the last, finest first

    Raises
    ------
    ValueError
        if the grid is too small for five halvings, or n_latent does not fit the coarsest grid
    """

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        n_latent: int | None,
        mask: Mask,
        width: Width,
        decoder_width: Width | None,
    ) -> None:
        shapes = coarser_shapes(shape)
        points = math.prod(shapes[-1])
        n_latent = LATENT_CHANNELS * points if n_latent is None else n_latent
        if n_latent < 1 or n_latent % points:
            below = max(1, n_latent // points) * points
            raise ValueError(
                f"n_latent = {n_latent} is no multiple of {points}, the points left of {shapes[0]} after {HALVINGS} "
                f"halvings; nearest are {below} and {below + points}"
            )
        super().__init__(channels, shapes[0], (n_latent // points, *shapes[-1]), mask)
        self.shapes, self.latent_channels = shapes, n_latent // points
        self.widths = stage_widths(width)
        self.decoder_widths = self.widths if decoder_width is None else stage_widths(decoder_width)


def coarser_shapes(shape: Sequence[int]) -> list[Shape]:
    """The grid's shape and those after each halving.

    Raises
    ------
    ValueError
        if the last halving would have a single point to start from
    """
    shapes = [grid_shape(shape)]
    for _ in range(HALVINGS):
        if max(shapes[-1]) == 1:
            raise ValueError(
                f"grid {shapes[0]} is too small for {HALVINGS} halvings: its longest side has {max(shapes[0])} points, "
                f"{2 ** (HALVINGS - 1) + 1} or more are needed"
            )
        shapes.append(grid_shape(strided_shape(shapes[-1])))
    return shapes


def stage_widths(width: Width) -> tuple[int, ...]:
    """Channels of the features after each halving but the last, finest first.

    Raises
    ------
    ValueError
        if there are neither one nor four numbers, or one is below 1
    """
    widths = [width] * (HALVINGS - 1) if isinstance(width, int) else [int(w) for w in width]
    if len(widths) != HALVINGS - 1 or min(widths) < 1:
        raise ValueError(f"width = {width}, expected a number of channels or {HALVINGS - 1} of them, finest first")
    return tuple(widths)
