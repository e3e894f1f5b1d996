"""Values of sensors, few or many and anywhere, as fields on a grid: what an observation encoder is given.

Each grid point takes the mean of the eight sensors nearest to it, weighted by 1 / (distance² + a quarter of a cell²)
(Shepard 1968); the cells of single nearest sensors (Fukami et al. 2021) need a network to smooth them first. Beside
the values lies how near the nearest sensor is. Distances are metres; each variable has its own sensors.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

_NEAREST = 8  # sensors that a point's value is made of
_REACH = 4.0  # spacings in which the nearness of a sensor falls by e


@dataclass(frozen=True)
class InverseDistanceGridding:
    """Gridding by inverse squared distance from the nearest sensors (Shepard 1968).

    spacing : (3,) distance of neighbours [m]
    part : (C, nx, ny, nz) bool, where a variable's values take part; elsewhere they are zero
    """

    spacing: tuple[float, float, float]
    part: np.ndarray

    @cached_property
    def places(self) -> np.ndarray:
        """(nx·ny·nz, 3) [m] from the first point."""
        shape = self.part.shape[1:]
        return np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1) * np.asarray(self.spacing)

    def weights(self, position: ArrayLike, channel: ArrayLike) -> "SensorWeights":
        """The weights of a set of sensors, good for any number of readings from it.

        Parameters
        ----------
        position : (M, 3) [m] from the grid's first point, inside or outside; their order makes no difference
        channel : (M,) number of the variable that each one reads; a variable may have none

        Returns
        -------
        SensorWeights
        """
        position, channel = np.asarray(position, dtype=np.float64).reshape(-1, 3), np.asarray(channel)
        size = float(np.mean(self.spacing))
        weights, nearness = [], np.zeros(self.part.shape)
        for number, part in enumerate(self.part.reshape(len(self.part), -1)):
            points, asked = np.flatnonzero(part), np.flatnonzero(channel == number)
            if len(asked) == 0 or len(points) == 0:
                weights.append(csr_matrix((part.size, len(channel))))
                continue
            # readings of one place count as their mean; sorted, so that ties do not depend on the order of the sensors
            places, place = np.unique(position[asked], axis=0, return_inverse=True)
            mean = csr_matrix((np.ones(len(asked)), (place.ravel(), asked)), (len(places), len(channel)))
            mean = mean.multiply(1.0 / mean.sum(axis=1)).tocsr()
            near = np.arange(1, min(_NEAREST, len(places)) + 1)
            distance, which = cKDTree(places).query(self.places[points], near)
            share = 1.0 / (distance**2 + (0.5 * size) ** 2)
            share /= share.sum(axis=1, keepdims=True)
            entries = share.ravel(), (np.repeat(points, len(near)), which.ravel())
            weights.append(csr_matrix(entries, (part.size, len(places))) @ mean)
            nearness[number].reshape(-1)[points] = np.exp(-distance[:, 0] / (_REACH * size))
        return SensorWeights(tuple(weights), nearness)


@dataclass(frozen=True)
class SensorWeights:
    """How the values of fixed sensors are put on the grid.

    weights : for each variable (nx·ny·nz × M) sparse
    nearness : (C, nx, ny, nz): 1 at a sensor, falling to 0; 0 where a variable has none
    """

    weights: tuple[csr_matrix, ...]
    nearness: np.ndarray

    def to_grid(self, values: ArrayLike) -> np.ndarray:
        """(k, M) readings in standard deviations → (k, 2C, nx, ny, nz): the variables' values, and nearness."""
        values = np.asarray(values, dtype=np.float64)
        fields = np.empty((len(values), 2, *self.nearness.shape))
        for channel, weights in enumerate(self.weights):
            fields[:, 0, channel] = (weights @ values.T).T.reshape(len(values), *self.nearness.shape[1:])
        fields[:, 1] = self.nearness
        return fields.reshape(len(values), -1, *self.nearness.shape[1:])
