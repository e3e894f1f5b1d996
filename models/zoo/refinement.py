"""A network that refines a linear analysis of few sensors: what it adds is zero at first, and small where readings are.

    x = x_a + σ_a ∘ N(x_a, σ_a, s, d, e, 1, x_a' − x_a)

with σ_a the posterior standard deviation, s how near the nearest sensor is (one at a sensor, zero out of its reach),
d the innovations on the grid, e where they are and how exact, 1 where there is fluid, and x_a' the same
sensors' analyses of some times before. N is a U-net whose last layer is zero at the start, so that training begins
with x = x_a.

N has few halvings, and so sees a neighbourhood, not the domain: a network that sees all of it learns to recognise the
states it is trained with, and is worse than x_a at others.

Ronneberger et al. 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation,
    https://arxiv.org/abs/1505.04597
"""

from collections.abc import Sequence

import torch
from torch import nn

from models.layers.unet import UNet

_PLAIN = 6  # inputs beside the earlier analyses


class Refinement(nn.Module):
    """N of one variable.

    Parameters
    ----------
    shape : (nx, ny, nz) of the grid, any
    earlier : number of earlier analyses
    width : channels of the U-net at half the grid's resolution
    halvings : of the resolution
    seed : of the weights
    """

    def __init__(
        self, shape: Sequence[int], earlier: int = 0, width: int = 12, halvings: int = 2, seed: int = 0
    ) -> None:
        super().__init__()
        self.inputs = _PLAIN + earlier
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet = UNet(self.inputs, 1, shape, width, halvings)
        with torch.no_grad():
            self.unet.last.weight.zero_()
            self.unet.last.bias.zero_()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 6 + earlier, nx, ny, nz), in the order above, in standard deviations → (B, nx, ny, nz) refined x."""
        known = inputs.clone()
        # states far outside those of the training have values of tens of standard deviations
        for channel in (0, 3, *range(_PLAIN, self.inputs)):
            known[:, channel] = torch.asinh(inputs[:, channel])
        return inputs[:, 0] + inputs[:, 1] * self.unet(known)[:, 0]
