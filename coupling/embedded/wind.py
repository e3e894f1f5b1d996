"""The mass-consistent wind: the divergence-free flow nearest to a first guess (Sasaki 1958; Sherman 1978).

Nodal P1 velocities u0(x, t) are the first guess, given by the inflow's boundary condition at every
node. The wind u is the nodal field nearest to it, in the norm of the lumped mass M, that

    has no weak divergence:    ∫ u·∇φ_i = 0  for all i not on an open boundary,
    does not cross the walls:  n·u = 0  at their nodes, for every wall that meets there (P u = u),

    u = P (u0 + M⁻¹ Dᵀ λ),    D P M⁻¹ Dᵀ λ = −D P u0,    λ = 0 on open boundaries.

So walls are slip walls: close to them the wind is parallel to them, and at a building's corner it is
zero. λ is the multiplier of Sherman (1978, eq. 5-8). The nodal field itself, not an element-wise one,
is free of divergence, which is what the transport needs to keep mass and constants both.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from coupling.common.files import FileError
from coupling.embedded.fem import Space, distributed, divergence
from coupling.fluidity.boundary import free_directions, unit_normals

if TYPE_CHECKING:  # where it is used it must be imported after petsc4py.init
    from petsc4py import PETSc

_FACTORED = 20_000  # nodes up to which the matrix is factored: at 4,000 nodes a step takes half the time then
_PREFIX = "embedded_wind_"
_FACTORS = {
    "pc_type": "redundant",
    "redundant_pc_type": "cholesky",
    "redundant_pc_factor_mat_solver_type": "mumps",
}


@dataclass(frozen=True)
class Walls:
    """Impermeable boundaries.

    ids : surface ids of the impermeable boundaries
    directions : {id: tuple of the axes 0, 1, 2 held at zero there}
    """

    ids: tuple[int, ...]
    directions: dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Wind:
    """A projection onto the winds that the mesh allows, set up once."""

    space: Space
    tangent: np.ndarray  # (N, 3, 3): P
    divergence: sp.csr_matrix  # (N, 3N): D
    fixed: np.ndarray  # (N,) bool: λ = 0
    solver: "PETSc.KSP"

    def project(self, guess: np.ndarray) -> tuple[np.ndarray, int]:
        """The wind nearest to a first guess. Collective.

        Parameters
        ----------
        guess : (N, 3) nodal velocities [m/s], right at halo nodes

        Returns
        -------
        (N, 3) float64 velocities [m/s], right at halo nodes, and PETSc's reason (negative: it failed)
        """
        space = self.space
        along = self._along(guess)
        right, multiplier = self.solver.getOperators()[0].createVecs()
        load = -(self.divergence @ along.T.ravel())
        load[self.fixed] = 0
        right.array[:] = load[space.owned]
        self.solver.solve(right, multiplier)
        nodal = np.zeros(space.n_nodes)
        nodal[space.owned] = multiplier.array
        space.refresh(nodal)
        push = (self.divergence.T @ nodal).reshape(3, -1).T / space.mass[:, None]
        wind = along + self._along(push)
        return space.refresh(wind), self.solver.getConvergedReason()

    def _along(self, vectors):
        return np.einsum("nij,nj->ni", self.tangent, vectors)


def make_wind(space: Space, facets: np.ndarray, facet_ids: np.ndarray, walls: Walls) -> Wind:
    """Set up the wind of a mesh. Collective.

    Parameters
    ----------
    space : finite elements on the rank's piece of the mesh
    facets, facet_ids : (F, 3) and (F,) int64, boundary triangles and their surface ids
    walls : Walls; all other surfaces are open

    Raises
    ------
    FileError
        if a boundary condition holds a component at zero that is not the one across its surface
    """
    from petsc4py import PETSc

    tangent = _tangents(space, facets, facet_ids, walls)
    open_ = np.zeros(space.n_nodes)
    open_[facets[~np.isin(facet_ids, walls.ids)].ravel()] = 1
    fixed = space.refresh(open_) > 0
    if not any(space.comm.allgather(bool(fixed.any()))):
        raise FileError(
            "no boundary is open: the wind that comes in cannot leave; leave the outflow free of conditions"
        )
    d = sp.hstack(divergence(space), format="csr")
    over_mass = tangent / space.mass[:, None, None]
    weights = sp.bmat([[sp.diags(over_mass[:, i, j]) for j in range(3)] for i in range(3)], format="csr")
    free = sp.diags((~fixed).astype(float))
    system = (free @ (d @ weights @ d.T) @ free + sp.diags(fixed.astype(float))).tocsr()
    solver = PETSc.KSP().create(comm=space.comm)
    solver.setOperators(distributed(space, system))
    solver.setType("cg")
    solver.setTolerances(rtol=1e-12, max_it=2000)
    _precondition(solver)
    return Wind(space, tangent, d, fixed, solver)


def _precondition(solver: "PETSc.KSP") -> None:
    """Multigrid; on a small mesh factors that serve all steps, each with one iteration.

    Each rank keeps them whole: the sums of factors that MUMPS distributes have another order in each run.
    """
    from petsc4py import PETSc

    if solver.getOperators()[0].getSize()[0] > _FACTORED or not PETSc.Sys.hasExternalPackage("mumps"):
        solver.getPC().setType("gamg")
    else:
        solver.setOptionsPrefix(_PREFIX)
        for name, value in _FACTORS.items():
            PETSc.Options().setValue(f"{_PREFIX}{name}", value)
        solver.setFromOptions()
    solver.setUp()


def _tangents(space, facets, facet_ids, walls):
    """(N, 3, 3) projections onto the directions in which a node's flow is free."""
    normals = unit_normals(space.points[facets])
    blocked = np.zeros((space.n_nodes, 3, 3))
    problem = None
    for surface in walls.ids:
        here = facet_ids == surface
        held = np.zeros(3)
        held[list(walls.directions[surface])] = 1
        if np.abs(normals[here] * (1 - held)).max(initial=0.0) > 1e-6:
            problem = (
                f"surface {surface}: its Velocity condition holds components {walls.directions[surface]} at zero, which"
                " does not stop the flow across it; hold the component along its normal, or all three"
            )
        squares = normals[here][:, :, None] * normals[here][:, None, :]
        for k in range(3):
            np.add.at(blocked, facets[here, k], squares)
    problems = [p for p in space.comm.allgather(problem) if p]
    if problems:
        raise FileError(problems[0])
    return space.refresh(free_directions(blocked).reshape(-1, 9)).reshape(-1, 3, 3)
