"""The regular grid on which analyses and networks work; of a mesh of two dimensions a plane of points, nz = 1.

Points are numbered with z fastest, `(ix · ny + iy) · nz + iz`, and divided among the ranks in contiguous
runs. `fluid` marks the points inside the simulated air; the others lie in buildings or outside the
mesh, are zero and take no part.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI
from numpy.typing import ArrayLike

from coupling.geometry.mesh import MeshError


@dataclass(frozen=True)
class Grid:
    """A box of regularly spaced points.

    origin : (3,) first point [m]
    spacing : (3,) distance of neighbours [m]
    shape : (nx, ny, nz); nz is 1 for a plane
    fluid : (nx, ny, nz) bool
    reconstruction : of fields in cells of polyhedra at the points, "constant" or "linear"
    """

    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    fluid: np.ndarray
    reconstruction: str = "constant"

    @property
    def n_points(self) -> int:
        """nx · ny · nz, solid points included."""
        return int(np.prod(self.shape))

    @property
    def fluid_points(self) -> np.ndarray:
        """(n_points,) bool view of `fluid` in the numbering of the points."""
        return self.fluid.reshape(-1)

    def rows(self, comm: MPI.Comm) -> range:
        """The run of point numbers that this rank holds."""
        return share_of_points(self.n_points, comm)

    def coordinates(self, numbers: ArrayLike) -> np.ndarray:
        """(k, 3) places of points given by number [m]."""
        index = np.stack(np.unravel_index(np.asarray(numbers), self.shape), axis=-1)
        return np.asarray(self.origin) + index * np.asarray(self.spacing)

    def places(self, comm: MPI.Comm) -> np.ndarray:
        """(len(rows), 3) places of the points that this rank holds [m]."""
        return self.coordinates(self.rows(comm))

    @property
    def box_fingerprint(self) -> str:
        """Hash of where the points lie, solid or not."""
        text = f"{np.array(self.origin).tobytes().hex()} {np.array(self.spacing).tobytes().hex()} {self.shape}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def fingerprint(self) -> str:
        """Hash of points and fluid marks: equal grids, equal fingerprints."""
        digest = hashlib.sha256(self.box_fingerprint.encode())
        digest.update(np.packbits(self.fluid).tobytes())
        return digest.hexdigest()[:32]

    @property
    def description(self) -> dict[str, Any]:
        """What the header of a modes file records."""
        about = {"origin": self.origin, "spacing": self.spacing, "shape": self.shape}
        return about if self.reconstruction == "constant" else {**about, "reconstruction": self.reconstruction}

    def __str__(self) -> str:
        return f"grid {' × '.join(map(str, self.shape))} ({self.fluid.mean():.0%} fluid)"

    def with_fluid(self, fluid: np.ndarray) -> "Grid":
        """The same points with other fluid marks, given in any shape."""
        return replace(self, fluid=np.asarray(fluid, bool).reshape(self.shape))


def share_of_points(n_points: int, comm: MPI.Comm) -> range:
    """This rank's run of point numbers."""
    return range(n_points * comm.rank // comm.size, n_points * (comm.rank + 1) // comm.size)


def make_grid(box: ArrayLike, shape: Sequence[int] | None = None, spacing: ArrayLike | None = None) -> Grid:
    """Lay a grid over a box, first and last points on its faces; all points count as fluid.

    Parameters
    ----------
    box : (2, 3) lowest and highest corner [m]; of the same height for a plane
    shape : (nx, ny, nz), at least 2 each; for a plane (nx, ny) or (nx, ny, 1); or
    spacing : wanted distance of points [m], one number or three, for a plane also two; the box is divided evenly into
        the nearest number of intervals, so that the spacing in use may differ by a little

    Raises
    ------
    MeshError
        if neither or both of shape and spacing are given, or the box is empty
    """
    low, high = np.asarray(box, dtype=float)
    plane = bool(high[2] == low[2])
    if not (high[: 2 if plane else 3] > low[: 2 if plane else 3]).all():
        raise MeshError(f"grid box from {low.tolist()} to {high.tolist()} m has no volume")
    if (shape is None) == (spacing is None):
        raise MeshError("give the grid either a shape (three numbers of points) or a spacing [m], not both")
    n = 2 if plane else 3
    if shape is None:
        wanted = np.asarray(spacing, float)
        if wanted.ndim and not n <= wanted.size <= 3:
            raise MeshError(f"grid spacing {wanted.tolist()}: one number or three expected")
        wanted = np.broadcast_to(wanted[:n] if wanted.ndim else wanted, n)
        shape = np.maximum(np.rint((high - low)[:n] / wanted), 1).astype(int) + 1
    shape = tuple(int(k) for k in shape)
    if plane and len(shape) == 3 and shape[2] != 1:
        raise MeshError(f"grid shape {shape}: the mesh lies in a plane; two numbers of points expected")
    shape = shape[:n]
    if len(shape) != n or min(shape) < 2:
        raise MeshError(f"grid shape {shape}: {'two' if plane else 'three'} numbers of at least 2 expected")
    step = (high - low)[:n] / (np.array(shape) - 1)
    nx, ny, nz = (*shape, 1)[:3]
    if plane:  # what stands for a height is never used but as a distance
        step = np.append(step, step.min())
    return Grid(tuple(low.tolist()), tuple(step.tolist()), (nx, ny, nz), np.ones((nx, ny, nz), bool))
