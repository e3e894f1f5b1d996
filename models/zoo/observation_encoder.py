"""The observation encoder f°: from readings of sparse sensors to an autoencoder's latent (Mack et al. 2020, Fig. 17).

    f°(y) = f(H⁺(y)),   H⁺(y) = s(y) + U(s(y))

s spreads the readings over the grid (:mod:`models.gridding`), the U-net U adds what fields look like that have such
values, and f is the autoencoder's own encoder, fine-tuned. One network serves any number of sensors anywhere. It is
trained on g(f°(y)) against the field, with the autoencoder's g as it is.

Mack et al. 2020, Attention-based Convolutional Autoencoders for 3D-Variational Data Assimilation,
    https://doi.org/10.1016/j.cma.2020.113291
Ronneberger et al. 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation,
    https://arxiv.org/abs/1505.04597
"""

import copy
from collections.abc import Sequence
from typing import Self

import torch
from torch import nn

from models.layers.unet import UNet
from models.zoo.autoencoder import Autoencoder

_START = 0.1  # size of U at the start, in its layers' own


class ObservationEncoder(nn.Module):
    """f° of an autoencoder, its weights copied. It is an option of that: `models.zoo.make(…, observations={…})`.

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

    tuned: Autoencoder
    given: Autoencoder

    def __init__(self, autoencoder: Autoencoder, spacing: Sequence[float], width: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.channels, self.shape, self.n_latent = autoencoder.channels, autoencoder.shape, autoencoder.n_latent
        self.spacing = tuple(float(s) for s in spacing)
        self.tuned = _without(autoencoder, "decoder").requires_grad_(True)
        self.given = _without(autoencoder, "encoder").requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet = UNet(2 * self.channels, self.channels, self.shape, width).to(autoencoder.mask.dtype)
        with torch.no_grad():
            self.unet.last.weight *= _START
            self.unet.last.bias.zero_()
        own_options = {"spacing": list(self.spacing), "width": width, "seed": seed}
        of = autoencoder.architecture
        self.architecture = of and {**of, "options": {**of["options"], "observations": own_options}}
        self.train(autoencoder.training)

    @property
    def mask(self) -> torch.Tensor:
        """(nx, ny, nz) ones and zeros."""
        return self.tuned.mask

    def train(self, mode: bool = True) -> Self:
        """As of any module, but g never is in training."""
        super().train(mode)
        self.given.eval()
        return self

    def field(self, spread: torch.Tensor) -> torch.Tensor:
        """H⁺: (B, 2C, nx, ny, nz) of `SensorWeights.to_grid` → (B, C, nx, ny, nz), zero at solid points."""
        return self.tuned.without_solids(spread[:, : self.channels] + self.unet(spread))

    def encode(self, spread: torch.Tensor) -> torch.Tensor:
        """f°: (B, 2C, nx, ny, nz) → (B, n_latent)."""
        return self.tuned.encode(self.field(spread))

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """g: (B, n_latent) → (B, C, nx, ny, nz)."""
        return self.given.decode(latent)

    def forward(self, spread: torch.Tensor) -> torch.Tensor:
        """g(f°(y)): (B, 2C, nx, ny, nz) → (B, C, nx, ny, nz)."""
        return self.decode(self.encode(spread))


def _without(autoencoder, part):
    """A copy that lacks its encoder or decoder, where that is a module of its own."""
    rest = copy.deepcopy(autoencoder)
    if isinstance(getattr(rest, part, None), nn.Module):
        delattr(rest, part)
    return rest
