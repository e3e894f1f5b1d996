"""What gates need of a mesh and its boundary, made once for a mesh."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.fluidity.boundary import check_surfaces, held_components, held_squares, read_boundary
from coupling.fluidity.checkpoint import FluidityRestart
from coupling.fluidity.divergence import DivergenceFree, divergence_free
from coupling.geometry.mass import lumped_mass
from coupling.geometry.mesh import Field, of_elements
from coupling.geometry.points import mesh_points
from coupling.geometry.taper import fading_weights
from plugin.case.gates import GatesSection


@dataclass(frozen=True)
class MeshOperators:
    """Masses, boundaries, weights and projections of the meshes that are in use. All methods are collective.

    comm : MPI communicator
    """

    comm: MPI.Comm
    _made: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False)

    def mass(self, of: Field) -> np.ndarray:
        """Lumped mass of a Field's values (:mod:`coupling.geometry.mass`) [m³]."""
        points = self._points(of) if of.location == "point" else None
        return self._once(of, "mass", lambda: lumped_mass(of.mesh, of.location, self.comm, points))

    def weights(self, of: Field, restart: FluidityRestart, surfaces: Collection[int], distance: float) -> np.ndarray:
        """Weights of a Field's values that fade towards some surfaces of a checkpoint."""

        def make():
            boundary = self._boundary(of, restart)
            places = of.mesh.points if of.location == "point" else of.mesh.centroids
            return fading_weights(places, boundary.points[boundary.nodes_on(surfaces)], distance, self.comm)

        return self._once(of, "weights", make)

    def projection(self, of: Field, restart: FluidityRestart) -> DivergenceFree:
        """DivergenceFree of a vector Field, held where the checkpoint's options say so."""

        def make():
            boundary = self._boundary(of, restart)
            mesh = of_elements(of.mesh, "analysis.divergence_free")
            squares = held_squares(boundary, mesh, held_components(restart, of.name), self.comm)
            return divergence_free(mesh, self.mass(of), squares, self.comm, self._points(of))

        return self._once(of, "projection", make)

    def keep_only(self, fields: Iterable[Field]) -> None:
        """Forget the meshes that none of these Fields lives on: an adaptive model comes with a new one each time."""
        here = {of.mesh.fingerprint for of in fields}
        for key in [key for key in self._made if key[0] not in here]:
            del self._made[key]

    def _boundary(self, of, restart):
        return self._once(of, "boundary", lambda: read_boundary(restart, of.mesh, self.comm))

    def _points(self, of):
        return self._once(of, "points", lambda: mesh_points(of.mesh, self.comm))

    def _once(self, of, what, make):
        key = of.mesh.fingerprint, of.location, what
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def check_boundary(settings: GatesSection, restart: FluidityRestart) -> None:
    """See that what a GatesSection asks of a checkpoint's boundary is there. Not collective.

    Raises
    ------
    FileError
        if a surface, or the field that is to have no divergence, is not
    """
    if settings.taper is not None:
        check_surfaces(settings.taper.surfaces, restart, "gates.taper")
    if settings.divergence_free is not None:
        held = held_components(restart, settings.divergence_free)
        check_surfaces(held, restart, f"{restart.options}: boundary conditions of {settings.divergence_free}")
