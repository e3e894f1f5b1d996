"""Advection and diffusion of a tracer that makes no new extrema.

    ∂c/∂t + u·∇c = ∇·(D ∇c) + s,    P1, backward Euler.

The scheme is the flux-corrected transport of Kuzmin (2009, J. Comput. Phys. 228, 2517-2534; with
Zalesak's limiter of 1979). First the Galerkin operator K is made monotone by the least artificial
diffusion that leaves no negative entry off its diagonal (discrete upwinding: Kuzmin & Turek 2002),
and the mass matrix is lumped: one linear system, an M-matrix, whose solution has no over- or
undershoots. Then antidiffusive fluxes are added edge by edge, as far as they make no new extremum.
It was chosen because concentrations must not become negative near a point source, which SUPG does
not guarantee, and because the fluxes cancel in pairs, so that mass is conserved. Backward Euler is
used because the bounds then hold for any time step; Crank-Nicolson would need small ones.

K's rows add up to zero for any velocity, so constants stay constant; its columns do where the wind has no
weak divergence, so the mass inside changes by what the source gives and the open boundaries carry.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from coupling.embedded.fem import Space, advection, diffusion, distributed

if TYPE_CHECKING:  # where it is used it must be imported after petsc4py.init
    from petsc4py import PETSc


@dataclass(frozen=True)
class Transport:
    """One tracer's operators and solver, set up once.

    space : finite elements on the rank's piece of the mesh
    diffusing : (nnz,) entries of the diffusion operator [m³/s]
    held : (N,) bool, nodes with a Dirichlet value
    system, solver : PETSc matrix and KSP of the monotone step
    """

    space: Space
    diffusing: np.ndarray
    held: np.ndarray
    system: "PETSc.Mat"
    solver: "PETSc.KSP"

    def step(
        self, tracer: np.ndarray, carrying: np.ndarray, source: np.ndarray, dirichlet: np.ndarray, timestep: float
    ) -> tuple[np.ndarray, int]:
        """Advance a tracer by one time step. Collective.

        Parameters
        ----------
        tracer : (N,) values [q]; halo values are used as they are
        carrying : (nnz,) entries of `fem.advection` with the wind at the new time
        source : (N,) [q/s] at the new time
        dirichlet : (N,) values at the new time, used where `held`
        timestep : s

        Returns
        -------
        (N,) values at the new time, right at halo nodes, and PETSc's reason (negative: the solver failed)
        """
        space = self.space
        with np.errstate(invalid="ignore", over="ignore"):  # NaN passes through, as in Fluidity
            operator, artificial = upwinded(space, carrying + self.diffusing)
            low, reason = self._monotone(operator, tracer, source, dirichlet, timestep)
            fluxes = self._antidiffusive(low, tracer, artificial, timestep)
            new = low + limited(space, low, timestep * fluxes, self.held) / space.mass
        new[self.held] = dirichlet[self.held]
        return space.refresh(new), reason

    def _monotone(self, operator, tracer, source, dirichlet, timestep):
        """Solve (M − Δt L) c = M (c⁰ + Δt s) with the lumped mass M."""
        space = self.space
        load = space.mass * (tracer + timestep * source)
        entries = -timestep * operator
        entries[space.diagonal] += space.mass
        entries[self.held[space.rows]] = 0
        entries[space.diagonal[self.held]] = 1
        load[self.held] = dirichlet[self.held]
        low = tracer.copy()
        reason = solve(self.solver, space, entries, load, low)
        return space.refresh(low), reason

    def _antidiffusive(self, low, tracer, artificial, timestep):
        """(nnz,) fluxes from node j into node i that the monotone step lacks [q m³/s]."""
        space = self.space
        rate = (low - tracer) / timestep
        i, j = space.rows, space.pattern.indices
        return space.pattern.data * (rate[i] - rate[j]) + artificial * (low[i] - low[j])


def make_transport(space: Space, diffusivity: float, held: np.ndarray) -> Transport:
    """Set up a tracer's transport. Collective.

    Parameters
    ----------
    space : finite elements on the rank's piece of the mesh
    diffusivity : m²/s
    held : (N,) bool, nodes with a Dirichlet value, right at halo nodes
    """
    from petsc4py import PETSc

    system = distributed(space, space.pattern)
    solver = PETSc.KSP().create(comm=space.comm)
    solver.setOperators(system)
    solver.setType("gmres")
    solver.setGMRESRestart(50)
    solver.getPC().setType("bjacobi")
    solver.setInitialGuessNonzero(True)
    solver.setTolerances(rtol=1e-12, max_it=1000)
    return Transport(space, diffusivity * diffusion(space), held, system, solver)


def upwinded(space: Space, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make an operator monotone by the least symmetric artificial diffusion.

    Parameters
    ----------
    entries : (nnz,) of K, rows of zero sum

    Returns
    -------
    (nnz,) entries of L = K + D, none negative off the diagonal, and of D off its diagonal (zero there)
    """
    artificial = np.maximum(0, np.maximum(-entries, -entries[space.transposed]))
    artificial[space.diagonal] = 0
    operator = entries + artificial
    operator[space.diagonal] -= np.bincount(space.rows, artificial, minlength=space.n_nodes)
    return operator, artificial


def limited(space: Space, low: np.ndarray, amounts: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(N,) sums of the antidiffusive amounts, limited so that no new extremum appears (Zalesak 1979). Collective.

    Parameters
    ----------
    low : (N,) monotone solution [q], right at halo nodes
    amounts : (nnz,) [q m³], what the step would carry from j into i; antisymmetric
    held : (N,) bool, nodes without limits
    """
    rows, columns, starts = space.rows, space.pattern.indices, space.pattern.indptr[:-1]
    neighbours = low[columns]
    room = np.empty((space.n_nodes, 2))
    room[:, 0] = np.maximum.reduceat(neighbours, starts) - low
    room[:, 1] = np.minimum.reduceat(neighbours, starts) - low
    wanted = np.empty((space.n_nodes, 2))
    wanted[:, 0] = np.bincount(rows, np.maximum(amounts, 0), minlength=space.n_nodes)
    wanted[:, 1] = np.bincount(rows, np.minimum(amounts, 0), minlength=space.n_nodes)
    allowed = np.ones_like(room)
    np.divide(room * space.mass[:, None], wanted, out=allowed, where=wanted != 0)
    allowed = np.minimum(allowed, 1)
    allowed[held] = 1
    space.refresh(allowed)
    into, out = allowed[rows], allowed[columns]
    share = np.where(amounts > 0, np.minimum(into[:, 0], out[:, 1]), np.minimum(into[:, 1], out[:, 0]))
    return np.bincount(rows, share * amounts, minlength=space.n_nodes)


def solve(solver: "PETSc.KSP", space: Space, entries: np.ndarray, load: np.ndarray, values: np.ndarray) -> int:
    """Solve a system of the space's sparsity for the owned nodes of `values`, in place. Collective.

    Returns
    -------
    PETSc's reason: negative if it failed; `values` is then meaningless
    """
    system = solver.getOperators()[0]
    own = space.matrix(entries)[space.owned]
    system.zeroEntries()
    system.setValuesCSR(own.indptr.astype(np.int32), space.numbers[own.indices], own.data)
    system.assemble()
    right, unknown = system.createVecs()
    right.array[:] = load[space.owned]
    unknown.array[:] = values[space.owned]
    solver.setOperators(system)
    solver.solve(right, unknown)
    values[space.owned] = unknown.array
    return solver.getConvergedReason()


def outflow(space: Space, velocity: np.ndarray, tracer: np.ndarray) -> np.ndarray:
    """(N,) rates at which each node's share of the tracer leaves through the boundary: c_j ∫ u·∇φ_j [q m³/s]."""
    columns = np.bincount(space.pattern.indices, advection(space, velocity), minlength=space.n_nodes)
    return -columns * tracer
