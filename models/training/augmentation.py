"""What is done to samples before the network sees them; what it is to give back are the samples as they were."""

from dataclasses import dataclass

import torch

from models.training.dataset import random


@dataclass(frozen=True)
class Augmentation:
    """Noise and mirror images (Mack et al. 2020).

    noise : lowest and highest standard deviation of Gaussian noise, in standard deviations of the fields
    share : lowest and highest part of the points that get noise
    flip : probability that a sample is mirrored, along x and along y each; the target is mirrored, too
    """

    noise: tuple[float, float] = (0.005, 0.05)
    share: tuple[float, float] = (0.1, 0.5)
    flip: float = 0.0

    def apply(self, fields, numbers, seed, epoch):
        """Change samples by what depends on seed, epoch and their numbers alone.

        Parameters
        ----------
        fields : (B, C, nx, ny, nz) tensor
        numbers : (B,) of the samples

        Returns
        -------
        seen, target : of the same shape, what the network is given and what it should give
        """
        target = fields.clone() if self.flip else fields
        seen = torch.empty_like(fields)
        for k, number in enumerate(numbers):
            rng = random(seed, epoch, int(number), 1)
            axes = [axis for axis in (1, 2) if rng.random() < self.flip]
            if axes:
                target[k] = target[k].flip(axes)
            std, part = rng.uniform(*self.noise), rng.uniform(*self.share)
            generator = torch.Generator(fields.device).manual_seed(int(rng.integers(2**63)))
            noise = torch.empty_like(target[k]).normal_(0.0, std, generator=generator)
            chosen = torch.empty_like(noise).uniform_(generator=generator) < part
            seen[k] = target[k] + noise * chosen
        return seen, target
