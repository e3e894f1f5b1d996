"""Random sensors and their readings, of which an observation encoder learns to make the field they are of."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from models.gridding import InverseDistanceGridding
from models.training.augmentation import Augmentation
from models.training.dataset import AUGMENTATION, random
from models.voronoi import VoronoiGridding

_NEAR_GROUND = 0.25  # of the grid's height: by how much places near the ground are preferred in half of the sets
_KEPT = 0.5  # least part of a user's sensors that is left of them


@dataclass(frozen=True)
class OwnSensors:
    """Sensors of one time that a user has.

    position : (M, 3) [m] from the grid's first point; channel : (M,) number of the variable
    reading : (M × C·nx·ny·nz) sparse: readings in standard deviations, of fields in standard deviations, flattened
    noise : (M,) standard deviation of a reading's error, in those of the field there
    """

    position: np.ndarray
    channel: np.ndarray
    reading: csr_matrix
    noise: np.ndarray


@dataclass(frozen=True)
class SensorDraws:
    """Sensors for each sample: a user's own with some missing, or random ones of random variables.

    grid : InverseDistanceGridding, or VoronoiGridding
    numbers : fewest and most random sensors of a variable; the logarithm of their number is uniform
    noise : lowest and highest standard deviation of random sensors' errors, in those of the fields, likewise
    own : sets of OwnSensors
    own_share : part of the samples that are seen by one of those, if there are any
    before : Augmentation of the fields before they are observed, or None
    """

    grid: InverseDistanceGridding | VoronoiGridding
    numbers: tuple[int, int] = (5, 1000)
    noise: tuple[float, float] = (0.02, 0.3)
    own: tuple[OwnSensors, ...] = ()
    own_share: float = 0.5
    before: Augmentation | None = None

    in_validation = True  # it is not a field that the network is given

    def apply(
        self, fields: torch.Tensor, numbers: np.ndarray, seed: int, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Observe samples by what depends on seed, epoch and their numbers alone; epoch 0, validation, as they are.

        Parameters
        ----------
        fields : (B, C, nx, ny, nz) tensor
        numbers : (B,) of the samples

        Returns
        -------
        spread : (B, 2C, nx, ny, nz) spread readings
        target : (B, C, nx, ny, nz)
        """
        target = fields
        if self.before is not None and epoch > 0:
            _, target = self.before.apply(fields, numbers, seed, epoch)
        values = target.cpu().numpy()
        spread = [
            self.observe(x, random(AUGMENTATION, seed, epoch, int(k), 1)) for x, k in zip(values, numbers, strict=True)
        ]
        whole = np.concatenate([np.empty((0, 2 * values.shape[1], *values.shape[2:])), *spread])
        return torch.from_numpy(whole).to(target), target

    def observe(self, field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(C, nx, ny, nz) field → (1, 2C, nx, ny, nz) spread readings of drawn sensors."""
        if self.own and rng.random() < self.own_share:
            of = self.own[rng.integers(len(self.own))]
            kept = np.flatnonzero(rng.random(len(of.channel)) < rng.uniform(_KEPT, 1.0))
            position, channel, std = of.position[kept], of.channel[kept], of.noise[kept]
            readings = of.reading[kept] @ field.ravel()
        else:
            point, channel = self._places(rng)
            position, std = self.grid.places[point], _log_uniform(rng, *self.noise)
            readings = field.reshape(len(field), -1)[channel, point]
        readings = readings + std * rng.standard_normal(len(readings))
        return self.grid.weights(position, channel).to_grid(readings[None])

    def _places(self, rng):
        """Points and variables of random sensors."""
        variables = len(self.grid.part)
        read = rng.permutation(variables)[: rng.integers(1, variables + 1)]
        low = rng.random() < 0.5
        points, channels = [], []
        for variable in read:
            there = np.flatnonzero(self.grid.part[variable])
            count = min(len(there), round(_log_uniform(rng, *self.numbers)))
            weights = self._near_ground[there] if low else np.ones(len(there))
            # as if drawn one after another without putting back (Efraimidis & Spirakis 2006)
            keys = rng.exponential(size=len(there)) / weights
            points.append(there[np.argpartition(keys, count - 1)[:count]] if count else there[:0])
            channels.append(np.full(count, variable))
        return np.concatenate(points), np.concatenate(channels)

    @property
    def _near_ground(self):
        height = self.grid.places[:, 2]
        return np.exp(-height / max(_NEAR_GROUND * height[-1], 1e-30))


def _log_uniform(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
