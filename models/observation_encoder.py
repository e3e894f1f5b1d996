"""The observation encoder f°: from readings of sparse sensors to an autoencoder's latent (Mack et al. 2020, Fig. 17).

    f°(y) = f(H⁺(y)),   H⁺(y) = s(y) + U(s(y))

s spreads the readings over the grid (:mod:`models.sensors`), the U-net U adds what fields look like that have such
values, and f is the autoencoder's own encoder, fine-tuned. One network serves any number of sensors anywhere.
"""

import copy

import torch
from torch import nn

from models.layers.unet import UNet


class ObservationEncoder(nn.Module):
    """f° of an autoencoder, its weights copied. Made and kept as one of its options: `models.zoo.make(…, observations=…)`.

    Parameters
    ----------
    autoencoder : Autoencoder
    spacing : (3,) distance of the grid's neighbours [m]
    width : channels of the U-net at half the grid's resolution
    seed : of the U-net's weights

    Attributes
    ----------
    channels, shape, n_latent, mask : as of the autoencoder
    architecture : that of the autoencoder with what is above as the option `observations`
    """

    def __init__(self, autoencoder, spacing, width=16, seed=0):
        super().__init__()
        self.channels, self.shape, self.n_latent = autoencoder.channels, autoencoder.shape, autoencoder.n_latent
        self.spacing = tuple(float(s) for s in spacing)
        self.autoencoder = copy.deepcopy(autoencoder).requires_grad_(True)
        if isinstance(getattr(autoencoder, "decoder", None), nn.Module):
            del self.autoencoder.decoder  # f alone is wanted
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet = UNet(2 * self.channels, self.channels, self.shape, width).to(autoencoder.mask.dtype)
        # begins as f of the spread values
        nn.init.zeros_(self.unet.last.weight)
        nn.init.zeros_(self.unet.last.bias)
        told = {"spacing": list(self.spacing), "width": width, "seed": seed}
        of = autoencoder.architecture
        self.architecture = of and {**of, "options": {**of["options"], "observations": told}}

    @property
    def mask(self):
        """(nx, ny, nz) ones and zeros."""
        return self.autoencoder.mask

    def field(self, spread):
        """H⁺: (B, 2C, nx, ny, nz) of `models.sensors.Layout.spread` → (B, C, nx, ny, nz), zero at solid points."""
        return self.autoencoder.without_solids(spread[:, : self.channels] + self.unet(spread))

    def encode(self, spread):
        """f°: (B, 2C, nx, ny, nz) → (B, n_latent)."""
        return self.autoencoder.encode(self.field(spread))

    def forward(self, spread):
        """As `encode`."""
        return self.encode(spread)
