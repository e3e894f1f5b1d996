"""What gates ask of a model's boundary: its marked surfaces, and a velocity that is free of divergence."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import AnyMesh, Field
from coupling.geometry.points import MeshPoints


class DivergenceError(ArithmeticError):
    """A projection that did not succeed."""


@dataclass(frozen=True)
class Projected:
    """An increment without divergence.

    increment : (N, 3) [m/s]
    before, after : root mean square of the weak divergence over the lumped mass [1/s]
    fraction : norm of the increment, as a fraction of its norm before
    iterations : of the solver
    """

    increment: np.ndarray
    before: float
    after: float
    fraction: float
    iterations: int


class Projection(Protocol):
    """Onto the increments of a velocity that have no divergence and are zero where the model sets the velocity."""

    def project(self, increment: np.ndarray) -> Projected:
        """(N, 3) increments, the nearest without divergence. DivergenceError if that fails. Collective."""


@dataclass(frozen=True)
class BoundaryOperators:
    """Functions of a restart's boundary. FileError if a surface or a field is not there.

    check_surfaces : of surfaces, a restart, and words for where they are named, which see that the surfaces are there.
        Not collective
    check_held : of a restart and the name of a vector field, which sees that its boundary conditions can be read. Not
        collective
    read : the boundary of a restart and a mesh, in the driver's own form. Collective
    points_on : (k, 3) this rank's points of such a boundary on some surfaces [m]
    divergence_free : Projection for a vector field of a restart with such a boundary, by the masses (N,) [m³] and the
        points of its nodes. Collective
    """

    check_surfaces: Callable[[Collection[int], Any, str], None]
    check_held: Callable[[Any, str], None]
    read: Callable[[Any, AnyMesh, MPI.Comm], Any]
    points_on: Callable[[Any, Collection[int]], np.ndarray]
    divergence_free: Callable[[Any, Any, Field, np.ndarray, MPI.Comm, MeshPoints], Projection]
