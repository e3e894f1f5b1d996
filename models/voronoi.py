"""Values of sensors as Voronoi cells on a grid (Fukami, Maulik, Ramachandra, Fukagata, Taira 2021).

Each grid point takes the value of the sensor nearest to it; beside the values lies a one at the points of sensors, and
zero elsewhere.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from models.gridding import InverseDistanceGridding, SensorWeights


@dataclass(frozen=True)
class VoronoiGridding:
    """Gridding by the nearest sensor; used in place of :class:`models.gridding.InverseDistanceGridding`.

    spacing : (3,) distance of neighbours [m]
    part : (C, nx, ny, nz) bool, where a variable's values take part; elsewhere they are zero
    """

    spacing: tuple[float, float, float]
    part: np.ndarray

    @cached_property
    def places(self) -> np.ndarray:
        """(nx·ny·nz, 3) [m] from the first point."""
        return InverseDistanceGridding(self.spacing, self.part).places

    def weights(self, position: ArrayLike, channel: ArrayLike) -> SensorWeights:
        """The weights of a set of sensors: (M, 3) [m] from the first point, (M,) numbers of variables → SensorWeights.

        Of several sensors at one place one counts.
        """
        position, channel = np.asarray(position, dtype=np.float64).reshape(-1, 3), np.asarray(channel)
        weights, marks = [], np.zeros(self.part.shape)
        for number, part in enumerate(self.part.reshape(len(self.part), -1)):
            points, asked = np.flatnonzero(part), np.flatnonzero(channel == number)
            if len(asked) == 0 or len(points) == 0:
                weights.append(csr_matrix((part.size, len(channel))))
                continue
            _, nearest = cKDTree(position[asked]).query(self.places[points])
            entries = np.ones(len(points)), (points, asked[nearest])
            weights.append(csr_matrix(entries, (part.size, len(channel))))
            _, at = cKDTree(self.places[points]).query(position[asked])
            marks[number].reshape(-1)[points[at]] = 1.0
        return SensorWeights(tuple(weights), marks)
