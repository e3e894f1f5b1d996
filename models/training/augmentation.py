"""What is done to samples before the network sees them, and what it is then to give back."""

from dataclasses import dataclass

import numpy as np
import torch

from models.training.dataset import AUGMENTATION, random


@dataclass(frozen=True)
class Augmentation:
    """Noise and mirror images (Mack et al. 2020), and combinations.

    A combination Σ w_i x_i of a batch's samples, w_i ~ N(0, 1/B), has the covariance of the samples, as increments V w
    have with w from its prior. There is no end of them where samples are few; and in them the weaker modes do not come
    with the stronger ones only as they did in the run. With ranks, each combines its own part of the batch.

    noise : lowest and highest standard deviation of Gaussian noise, in standard deviations of the fields
    share : lowest and highest part of the points that get noise
    flip : probability that a sample is mirrored, along x and along y each; the target is mirrored, too
    combine : probability that a sample is replaced, also as the target, by a combination of its batch's
    """

    noise: tuple[float, float] = (0.005, 0.05)
    share: tuple[float, float] = (0.1, 0.5)
    flip: float = 0.0
    combine: float = 0.0

    in_validation = False  # validation is of the samples as they are

    def apply(
        self, fields: torch.Tensor, numbers: np.ndarray, seed: int, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change samples by what depends on seed, epoch and their numbers alone; combinations on their batch, too.

        Parameters
        ----------
        fields : (B, C, nx, ny, nz) tensor
        numbers : (B,) of the samples

        Returns
        -------
        given, target : of the same shape, what the network is given and what it should give
        """
        draws = [random(AUGMENTATION, seed, epoch, int(number)) for number in numbers]
        target = self._combined(self._mirrored(fields, draws), draws)
        if not self.noise[1]:
            return target, target
        given = torch.empty_like(target)
        for k, rng in enumerate(draws):
            std, part = rng.uniform(*self.noise), rng.uniform(*self.share)
            generator = torch.Generator(fields.device).manual_seed(int(rng.integers(2**63)))
            noise = torch.empty_like(target[k]).normal_(0.0, std, generator=generator)
            chosen = torch.empty_like(noise).uniform_(generator=generator) < part
            given[k] = target[k] + noise * chosen
        return given, target

    def _mirrored(self, fields, draws):
        if not self.flip:
            return fields
        mirrored = fields.clone()
        for k, rng in enumerate(draws):
            axes = [axis for axis in (1, 2) if rng.random() < self.flip]
            if axes:
                mirrored[k] = mirrored[k].flip(axes)
        return mirrored

    def _combined(self, fields, draws):
        if not self.combine:
            return fields
        weights = torch.eye(len(fields))
        for k, rng in enumerate(draws):
            if rng.random() < self.combine:
                weights[k] = torch.from_numpy(rng.standard_normal(len(fields)) / len(fields) ** 0.5)
        return torch.tensordot(weights.to(fields), fields, 1)
