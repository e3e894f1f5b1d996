"""Networks as a user might write them, who knows nothing of ours."""

import torch
from torch import nn

from models.zoo.linear import Linear


class Plain(nn.Module):
    """No mask, no flat latent, no base class."""

    def __init__(self, channels, shape, width=3):
        super().__init__()
        self.f, self.g = nn.Conv3d(channels, width, 1), nn.Conv3d(width, channels, 1)

    def encode(self, fields):
        return self.f(fields)[:, :, ::2]

    def decode(self, latent):
        return self.g(latent.repeat_interleave(2, 2)[:, :, : latent.shape[2] * 2])


def of_another_size(channels, shape):
    network = Plain(channels, shape)
    network.decode = lambda latent: network.g(latent)
    return network


def orthonormal(channels, shape, n_latent=4):
    rows = channels * shape[0] * shape[1] * shape[2]
    return Linear(channels, shape, n_latent, torch.linalg.qr(torch.randn(rows, n_latent))[0])


def no_network(channels, shape):
    return "text"
