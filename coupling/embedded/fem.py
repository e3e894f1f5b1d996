"""Linear finite elements on one rank's tetrahedra.

The geometry (gradients, volumes) and the sparsity come from scikit-fem, once. What changes with the
wind is assembled every step; on straight tetrahedra its integrals are exact in closed form, so only
a weighted count into the fixed sparsity remains.

Rows of the nodes that the rank owns are complete, because a level-2 halo brings every cell they touch.
Other rows are not, and are never used.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from mpi4py import MPI
from skfem import Basis, BilinearForm, ElementTetP1, MeshTet

from coupling.common.files import FileError
from coupling.embedded.functions import Function, PythonFunction
from coupling.fluidity.halo import Halo, refresh

if TYPE_CHECKING:  # where it is used it must be imported after petsc4py.init
    from petsc4py import PETSc


@dataclass(frozen=True)
class Space:
    """P1 on this rank.

    comm : MPI communicator
    halo : Halo
    points : (N, 3) float64 [m]
    cells : (E, 4) int64
    volumes : (E,) float64 [m³]
    gradients : (E, 4, 3) float64 [1/m], of the four hat functions of a cell
    pattern : (N, N) csr of the consistent mass; every matrix here has its sparsity
    slots : (E, 4, 4) int64, where a cell's entries lie in `pattern.data`
    transposed : (nnz,) int64, where the transposed entry of each entry lies
    mass : (N,) float64 [m³], lumped mass, right at halo nodes too
    numbers : (N,) int32, numbers of the nodes over all ranks
    """

    comm: MPI.Comm
    halo: Halo
    points: np.ndarray
    cells: np.ndarray
    volumes: np.ndarray
    gradients: np.ndarray
    pattern: sp.csr_matrix
    slots: np.ndarray
    transposed: np.ndarray
    mass: np.ndarray
    numbers: np.ndarray

    @property
    def n_nodes(self) -> int:
        """Nodes on this rank, halos included."""
        return len(self.points)

    @property
    def owned(self) -> slice:
        """The nodes that this rank owns."""
        return slice(0, self.halo.n_private)

    @cached_property
    def places(self) -> list[tuple[float, ...]]:
        """The owned nodes as a list of (x, y, z), as Python functions take them."""
        return [tuple(place) for place in self.points[self.owned].tolist()]

    @cached_property
    def rows(self) -> np.ndarray:
        """(nnz,) int64: the row of each entry."""
        return np.repeat(np.arange(self.n_nodes), np.diff(self.pattern.indptr))

    @cached_property
    def diagonal(self) -> np.ndarray:
        """(N,) int64: where the diagonal entries lie."""
        return np.flatnonzero(self.rows == self.pattern.indices)

    def assemble(self, element_matrices: np.ndarray) -> np.ndarray:
        """(nnz,) entries of the matrix that (E, 4, 4) element matrices add up to."""
        return np.bincount(self.slots.ravel(), element_matrices.ravel(), minlength=self.pattern.nnz)

    def matrix(self, entries: np.ndarray) -> sp.csr_matrix:
        """(N, N) csr of the entries."""
        return sp.csr_matrix((entries, self.pattern.indices, self.pattern.indptr), self.pattern.shape)

    def refresh(self, values: np.ndarray) -> np.ndarray:
        """Copy the values of halo nodes from their owners, in place. Collective."""
        refresh(values, self.halo.levels[2], self.comm)
        return values

    def evaluate(self, function: Function, time: float) -> np.ndarray:
        """(N, k) values of a function at all nodes, evaluated by their owners. Collective."""
        size = function.size if isinstance(function, PythonFunction) else len(function.value)
        values = np.empty((self.n_nodes, size))
        values[self.owned] = function.at(self.places, time)
        return self.refresh(values)

    def total(self, values: np.ndarray) -> float:
        """Integral over the mesh of (N,) nodal values, by the lumped mass. Collective."""
        return self.comm.allreduce(float(self.mass[self.owned] @ values[self.owned]))


@BilinearForm
def _mass(u, v, w):
    return u * v


def make_space(points: np.ndarray, cells: np.ndarray, halo: Halo, comm: MPI.Comm) -> Space:
    """Build the space of a mesh. Collective.

    Raises
    ------
    FileError
        if a cell is flat, or mesh and halo do not belong together
    """
    problem = None
    if halo.n_nodes != len(points):
        problem = f"halo of process {halo.process} is for {halo.n_nodes} nodes, its mesh has {len(points)}"
    elif (flat := _flat_cells(points, cells)).any():
        problem = f"cell {int(np.argmax(flat))} is flat; mesh again"
    problems = [p for p in comm.allgather(problem) if p]
    if problems:
        raise FileError(problems[0])
    basis = Basis(MeshTet(points.T.copy(), cells.T.copy()), ElementTetP1(), intorder=2)
    gradients = np.stack([basis.basis[i][0].grad[:, :, 0].T for i in range(4)], axis=1)
    pattern = _mass.assemble(basis).tocsr()
    pattern.sort_indices()
    mass = np.asarray(pattern.sum(axis=1)).ravel()
    numbered = sp.csr_matrix((np.arange(pattern.nnz), pattern.indices, pattern.indptr), pattern.shape)
    backward = numbered.T.tocsr()
    backward.sort_indices()
    space = Space(
        comm, halo, points, cells, basis.dx.sum(axis=1), gradients, pattern,
        _slots(pattern, cells), backward.data, mass, _numbers(halo, comm),
    )  # fmt: skip
    space.refresh(space.numbers)
    _check_halo(space)
    return space


def _flat_cells(points, cells):
    corners = points[cells]
    edges = corners[:, 1:] - corners[:, :1]
    size = np.linalg.norm(edges, axis=2).max(axis=1)
    return np.abs(np.linalg.det(edges)) <= 1e-12 * size**3


def _slots(pattern, cells):
    """Where entry (cell[i], cell[j]) lies: rows are sorted, so a row-major key finds it."""
    n = pattern.shape[0]
    keys = np.repeat(np.arange(n), np.diff(pattern.indptr)) * n + pattern.indices
    return np.searchsorted(keys, cells[:, :, None] * n + cells[:, None, :])


def _numbers(halo, comm):
    first = sum(comm.allgather(halo.n_private)[: comm.rank])
    return np.arange(first, first + halo.n_nodes, dtype=np.int32)


def _check_halo(space):
    """Level 1 must be complete for the wind's matrix; places must agree with the owners'."""
    size = np.ptp(space.points, axis=0).max()
    places = space.refresh(space.points.copy())
    apart = np.abs(places - space.points).max() > 1e-9 * size
    own = space.mass.copy()
    space.refresh(space.mass)
    near = np.concatenate([np.empty(0, np.int64), *space.halo.levels[1].receive.values()])
    thin = np.abs(own[near] - space.mass[near]).max(initial=0.0) > 1e-9 * own.max()
    if any(space.comm.allgather(bool(apart))):
        raise FileError("halo nodes lie elsewhere than their owners' nodes; the .halo and .msh files do not match")
    if any(space.comm.allgather(bool(thin))):
        raise FileError("the meshes hold too few cells around their halos; decompose with two levels of halo")


def advection(space: Space, velocity: np.ndarray) -> np.ndarray:
    """(nnz,) entries of K, k_ij = −∫ φ_i u·∇φ_j, for (N, 3) nodal velocities [m/s]; exact for P1."""
    nodal = velocity[space.cells]
    weighted = (nodal + nodal.sum(axis=1, keepdims=True)) * (space.volumes[:, None, None] / 20)
    return space.assemble(-weighted @ space.gradients.transpose(0, 2, 1))


def diffusion(space: Space) -> np.ndarray:
    """(nnz,) entries of −∫ ∇φ_i·∇φ_j [m]; times a diffusivity it adds to K."""
    return space.assemble(-space.volumes[:, None, None] * (space.gradients @ space.gradients.transpose(0, 2, 1)))


def divergence(space: Space) -> list[sp.csr_matrix]:
    """Three (N, N) csr matrices D_d, (D_d)_ij = ∫ ∂_d φ_i φ_j [m²]: Σ_d D_d u_d is the weak divergence, negated."""
    matrices = []
    for d in range(3):
        column = space.gradients[:, :, d] * (space.volumes[:, None] / 4)
        matrices.append(space.matrix(space.assemble(np.repeat(column[:, :, None], 4, axis=2))))
    return matrices


def distributed(space: Space, matrix: sp.csr_matrix) -> "PETSc.Mat":
    """PETSc matrix of the owned rows of a local (N, N) csr."""
    from petsc4py import PETSc

    n = space.halo.n_private
    own = matrix[space.owned]
    rows = (own.indptr.astype(np.int32), space.numbers[own.indices], own.data)
    result = PETSc.Mat().createAIJ(((n, None), (n, None)), comm=space.comm)
    result.setPreallocationCSR(rows)
    result.assemble()
    return result
