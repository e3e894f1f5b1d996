"""What gates need of a mesh and its boundary, made once for a mesh."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.geometry.mass import integral_by_mass, lumped_mass
from coupling.geometry.mesh import Field
from coupling.geometry.points import mesh_points
from coupling.geometry.taper import fading_weights
from coupling.simulation.boundary import BoundaryOperators, Projection
from coupling.simulation.simulation import Restart
from plugin.case.configuration import ConfigurationError
from plugin.case.gates import GatesSection


@dataclass(frozen=True)
class MeshOperators:
    """Masses, boundaries, weights and projections of the meshes that are in use. All methods are collective.

    comm : MPI communicator
    boundary : BoundaryOperators of the model, or why there are none
    """

    comm: MPI.Comm
    boundary: BoundaryOperators | str
    _made: dict[tuple[str, str, str], Any] = field(default_factory=dict, repr=False)

    def mass(self, of: Field) -> np.ndarray:
        """Lumped mass of a Field's values (:mod:`coupling.geometry.mass`) [m³]."""
        points = self._points(of) if of.location == "point" else None
        return self._once(of, "mass", lambda: lumped_mass(of.mesh, of.location, self.comm, points))

    def integral_by_mass(self, of: Field) -> np.ndarray:
        """Integrals of a Field's values' functions by their lumped masses."""
        return self._once(of, "integral_by_mass", lambda: integral_by_mass(of.mesh, of.location))

    def weights(self, of: Field, restart: Restart, surfaces: Collection[int], distance: float) -> np.ndarray:
        """Weights of a Field's values that fade towards some surfaces of a checkpoint."""

        def make():
            operators, boundary = self._boundary(of, restart)
            places = of.mesh.points if of.location == "point" else of.mesh.centroids
            return fading_weights(places, operators.points_on(boundary, surfaces), distance, self.comm)

        return self._once(of, "weights", make)

    def projection(self, of: Field, restart: Restart) -> Projection:
        """Projection of a vector Field, held where the checkpoint's options say so."""

        def make():
            operators, boundary = self._boundary(of, restart)
            return operators.divergence_free(boundary, restart, of, self.mass(of), self.comm, self._points(of))

        return self._once(of, "projection", make)

    def keep_only(self, fields: Iterable[Field]) -> None:
        """Forget the meshes that none of these Fields lives on: an adaptive model comes with a new one each time."""
        here = {of.mesh.fingerprint for of in fields}
        for key in [key for key in self._made if key[0] not in here]:
            del self._made[key]

    def _boundary(self, of, restart):
        assert not isinstance(self.boundary, str)  # check_gates refuses the gates that need one
        operators = self.boundary
        return operators, self._once(of, "boundary", lambda: operators.read(restart, of.mesh, self.comm))

    def _points(self, of):
        return self._once(of, "points", lambda: mesh_points(of.mesh, self.comm))

    def _once(self, of, what, make):
        key = of.mesh.fingerprint, of.location, what
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def check_gates(settings: GatesSection, boundary: BoundaryOperators | str) -> None:
    """ConfigurationError if a gate of a GatesSection needs a boundary of the model, and there is none."""
    for key in ("taper", "divergence_free"):
        if getattr(settings, key) is not None and isinstance(boundary, str):
            raise ConfigurationError(f"gates.{key} needs surfaces and boundary conditions: {boundary}; leave it out")


def check_boundary(settings: GatesSection, restart: Restart, boundary: BoundaryOperators | str) -> None:
    """See that what a GatesSection asks of a restart's boundary is there. Not collective.

    Raises
    ------
    ConfigurationError
        as `check_gates`
    FileError
        if a surface, or the field that is to have no divergence, is not
    """
    check_gates(settings, boundary)
    if isinstance(boundary, str):
        return
    if settings.taper is not None:
        boundary.check_surfaces(settings.taper.surfaces, restart, "gates.taper")
    if settings.divergence_free is not None:
        boundary.check_held(restart, settings.divergence_free)
