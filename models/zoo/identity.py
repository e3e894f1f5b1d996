"""An autoencoder that leaves fields as they are: its observation encoder is a regression from readings to fields."""

from collections.abc import Sequence

from torch import nn

from models.zoo.autoencoder import Autoencoder, Mask


class Identity(Autoencoder):
    """encode and decode change nothing but solid points; the latent is the whole field.

    Parameters
    ----------
    channels, shape, mask : as for `Autoencoder`
    """

    def __init__(self, channels: int, shape: Sequence[int], mask: Mask = None) -> None:
        super().__init__(channels, shape, (channels, *shape), mask)
        self.encoder, self.decoder = nn.Identity(), nn.Identity()
