"""An autoencoder for grids that are too small for the zoo's."""

from torch import nn


class Small(nn.Module):
    """Two dense layers with batch norm between."""

    def __init__(self, channels, shape, n_latent=3):
        super().__init__()
        n = channels * shape[0] * shape[1] * shape[2]
        self.f = nn.Sequential(nn.Flatten(), nn.Linear(n, n_latent), nn.BatchNorm1d(n_latent))
        self.g = nn.Sequential(nn.Linear(n_latent, n), nn.Unflatten(1, (channels, *shape)))

    def encode(self, fields):
        return self.f(fields)

    def decode(self, latent):
        return self.g(latent)
