"""Velocity increments that are free of divergence, and zero where the model prescribes the velocity.

On P1 and Q1 the weak divergence of u is C u, (C u)_i = ∫ φ_i ∇·u, with a hat function φ_i for every node. With T the
projection onto the directions in which nodes are free, and M the lumped mass,

    minimise ½ ‖u' − δu‖²_M  subject to  C u' = 0,  T u' = u'

has the solution u' = T δu − M⁻¹ Bᵀ φ, (B M⁻¹ Bᵀ) φ = B δu, B = C T (Sasaki 1958; Gresho & Sani 1998, 3.13). It is an
orthogonal projection: applied twice it does the same, and it removes from δu what B and T exclude, nothing else.

As velocity and φ are of one kind, B M⁻¹ Bᵀ has modes φ with small or zero eigenvalues: the constant where nothing is
open, and checkerboards (Sani et al. 1981), most of them where walls prescribe all of the velocity. The right-hand
side has no part in the null space but rounding, so conjugate gradients find a solution if they stop before that, and
only Bᵀ φ, which is unique, is used. Small eigenvalues cost iterations: in a street of 4,370 nodes 47 with slip walls,
2,100 (1.3 s) with no-slip walls.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse import csr_matrix

from coupling.fluidity.boundary import free_directions
from coupling.geometry.interpolation import multiply, sparse_rows
from coupling.geometry.mesh import Mesh
from coupling.geometry.points import MeshPoints, mesh_points
from coupling.simulation.boundary import DivergenceError, Projected

_REDUCTION = 1e-12  # of the residual
_ROUNDING = 1e-15  # of the sum of the sizes of the divergence's terms
_MOST_ITERATIONS = 20_000
_NOTHING = 1e-12  # of the largest diagonal entry: a row without a free node


@dataclass(frozen=True)
class DivergenceFree:
    """The projection, set up once for a mesh.

    mesh : Mesh
    points : MeshPoints, the nodes once each
    mass : (n_rows,) lumped mass of the points on this rank [m³]
    free : (n_rows, 3, 3), T
    divergence : PETSc AIJ (points × 3 points), B [m²]
    size : norm of the largest weak divergence of a velocity of 1 m/s [m³/s]
    solver : PETSc KSP of B M⁻¹ Bᵀ
    """

    mesh: Mesh
    points: MeshPoints
    mass: np.ndarray
    free: np.ndarray
    divergence: PETSc.Mat
    size: float
    solver: PETSc.KSP

    def project(self, increment: np.ndarray) -> Projected:
        """The nearest increment without divergence. Collective.

        Parameters
        ----------
        increment : (N, 3) at the mesh's nodes, the same at all copies of a node [m/s]

        Returns
        -------
        Projected

        Raises
        ------
        DivergenceError
            if the solver fails
        """
        between, (right, multiplier) = self.points.between, self.solver.getOperators()[0].createVecs()
        given = multiply(between.to_grid, increment)
        right.array[:] = multiply(self.divergence, given.ravel())
        largest = self._comm.allreduce(float(np.abs(given).max(initial=0.0)), MPI.MAX)
        self.solver.setTolerances(rtol=_REDUCTION, atol=_ROUNDING * self.size * largest, max_it=_MOST_ITERATIONS)
        self.solver.solve(right, multiplier)
        if self.solver.getConvergedReason() < 0:
            raise DivergenceError(
                "the velocity's increment could not be made free of divergence: after"
                f" {self.solver.getIterationNumber()} iterations the residual is {self.solver.getResidualNorm():.2g},"
                f" PETSc's reason {self.solver.getConvergedReason()}"
            )
        push = multiply(self.divergence, multiplier.array, transpose=True).reshape(-1, 3)
        projected = np.einsum("nij,nj->ni", self.free, given) - push / self.mass[:, None]
        on_mesh, size = multiply(between.to_mesh, projected), self._norm(given)
        return Projected(
            on_mesh,
            self.rms_divergence(increment),
            self.rms_divergence(on_mesh),
            self._norm(projected) / size if size else 1.0,
            self.solver.getIterationNumber(),
        )

    def rms_divergence(self, velocity: np.ndarray) -> float:
        """Root mean square over the mesh of the weak divergence by mass [1/s], walls or not. Collective."""
        at_points = multiply(self.points.between.to_mesh, weak_divergence(self.mesh, velocity), transpose=True)
        return self._norm(at_points / self.mass) / np.sqrt(self._comm.allreduce(self.mass.sum()))

    def _norm(self, values):
        squares = values**2 if values.ndim == 1 else (values**2).sum(axis=1)
        return float(np.sqrt(self._comm.allreduce(float(self.mass @ squares))))

    @property
    def _comm(self):
        return self.divergence.getComm().tompi4py()


def weak_divergence(mesh: Mesh, velocity: np.ndarray) -> np.ndarray:
    """(N,) ∫ φ_i ∇·u [m³/s] over this rank's own cells, for (N, 3) nodal velocities [m/s]."""
    cells, weighted = _own(mesh)
    of_nodes = np.einsum("eijd,ejd->ei", weighted, velocity[cells])
    return np.bincount(cells.ravel(), np.broadcast_to(of_nodes, cells.shape).ravel(), minlength=mesh.n_nodes)


def _own(mesh):
    """(own cells (E, n); ∫ φ_i ∇φ_j (E, n or 1, n, 3))."""
    cells = mesh.cells[~mesh.ghost]
    return cells, mesh.shape.weighted_gradients(mesh.points[cells])


def divergence_free(
    mesh: Mesh, mass: np.ndarray, squares: np.ndarray, comm: MPI.Comm, points: MeshPoints | None = None
) -> DivergenceFree:
    """Set up the projection for a mesh. Collective.

    Parameters
    ----------
    mesh : Mesh, continuous
    mass : (N,) as of `coupling.geometry.mass.lumped_mass`
    squares : (N, 3, 3) as of `coupling.fluidity.boundary.held_squares`
    comm : MPI communicator
    points : MeshPoints of the mesh if already at hand

    Returns
    -------
    DivergenceFree
    """
    points = points or mesh_points(mesh, comm)
    between = points.between
    at_points = multiply(between.to_mesh, squares.reshape(-1, 9), transpose=True)
    free = free_directions(at_points.reshape(-1, 3, 3))
    of_points = multiply(between.to_grid, mass)
    b = _matrix(mesh, between, free, comm)
    scaled = b.copy()
    scaled.diagonalScale(R=_vector(np.repeat(1 / of_points, 3), comm))
    solver = _solver(scaled.matMult(b.transpose(PETSc.Mat())), comm)
    return DivergenceFree(mesh, points, of_points, free, b, _size(mesh, between, comm), solver)


def _size(mesh, between, comm):
    """Norm over the nodes of Σ ∫ φ_i |∇φ_j|, over the cells around and their corners j."""
    cells, weighted = _own(mesh)
    of_cells = np.broadcast_to(np.linalg.norm(weighted, axis=3).sum(axis=2), cells.shape)
    of_nodes = np.bincount(cells.ravel(), of_cells.ravel(), minlength=mesh.n_nodes)
    return float(np.sqrt(comm.allreduce(float((multiply(between.to_mesh, of_nodes, transpose=True) ** 2).sum()))))


def _matrix(mesh, between, free, comm):
    """B: rows of the rank's own nodes, copies among them, then added up over the copies."""
    (cells, weighted), n = _own(mesh), mesh.shape.n_nodes
    number = between.to_mesh.getValuesCSR()[1]  # a node's row holds its point, and nothing else
    free = multiply(between.to_mesh, free.reshape(-1, 9)).reshape(-1, 3, 3)
    of_cells = np.einsum("eijc,ejcd->eijd", weighted, free[cells])
    row = np.repeat(cells, 3 * n)
    column = np.tile((3 * number[cells][:, :, None] + np.arange(3)).reshape(-1, 3 * n), n).ravel()
    of_cells = of_cells.reshape(len(cells), of_cells.shape[1], 3 * n)
    values = np.broadcast_to(of_cells, (len(cells), n, 3 * n)).ravel()
    rows = csr_matrix((values, (row, column)), (mesh.n_nodes, 3 * between.to_mesh.getSize()[1]))
    n_local = 3 * between.to_grid.getLocalSize()[0]
    row = np.repeat(np.arange(mesh.n_nodes), np.diff(rows.indptr))
    at_nodes = sparse_rows(mesh.n_nodes, n_local, row, rows.indices, rows.data, comm)
    return between.to_mesh.transposeMatMult(at_nodes)


def _vector(values, comm):
    return PETSc.Vec().createWithArray(np.ascontiguousarray(values), comm=comm)


def _solver(system, comm):
    """Conjugate gradients for B M⁻¹ Bᵀ."""
    diagonal = system.getDiagonal()
    largest = diagonal.max()[1]
    coupled = diagonal.array > _NOTHING * largest
    constant, product = system.createVecs()
    constant.array[:] = coupled
    constant.normalize()
    system.mult(constant, product)
    # φ at nodes without a free neighbour: its right-hand side is zero, and so is φ
    diagonal.array[~coupled] = largest
    system.setDiagonal(diagonal)
    if product.norm() <= _NOTHING * largest:  # nothing is open
        system.setNullSpace(PETSc.NullSpace().create(vectors=[constant], comm=comm))
    solver = PETSc.KSP().create(comm=comm)
    solver.setOperators(system)
    solver.setType("cg")
    solver.getPC().setType("gamg")
    solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    solver.setUp()
    return solver
