"""Assembly: the closed forms equal scikit-fem's quadrature, and the sums that conservation needs hold."""

import numpy as np
import pytest
import scipy.sparse as sp
from box_mesh import box_space
from mpi4py import MPI
from skfem import Basis, BilinearForm, ElementTetP1, MeshTet
from skfem.helpers import dot, grad

from coupling.common.files import FileError
from coupling.embedded import fem
from coupling.fluidity.halo import serial_halo


@pytest.fixture
def reference(street):
    """scikit-fem's own basis on the same mesh, with quadrature exact for cubics."""
    mesh, _ = street
    return Basis(MeshTet(mesh.points.T.copy(), mesh.cells.T.copy()), ElementTetP1(), intorder=3)


def same(ours, theirs):
    assert abs(ours - theirs).max() <= 1e-12 * abs(theirs).max()


def test_advection_equals_quadrature(street, reference):
    _, space = street
    velocity = np.random.default_rng(1).normal(size=(space.n_nodes, 3))
    parts = [reference.interpolate(velocity[:, d]) for d in range(3)]

    @BilinearForm
    def form(u, v, w):
        return -v * sum(w[f"u{d}"] * grad(u)[d] for d in range(3))

    theirs = form.assemble(reference, **{f"u{d}": parts[d] for d in range(3)})
    same(space.matrix(fem.advection(space, velocity)), theirs)


def test_diffusion_and_divergence_equal_quadrature(street, reference):
    _, space = street
    stiffness = BilinearForm(lambda u, v, w: -dot(grad(u), grad(v))).assemble(reference)
    same(space.matrix(fem.diffusion(space)), stiffness)
    for d, ours in enumerate(fem.divergence(space)):
        same(ours, BilinearForm(lambda u, v, w, d=d: grad(v)[d] * u).assemble(reference))


def test_mass_adds_up_to_the_volume(street):
    _, space = street
    volume = 120 * 80 * 40 - 20 * 20 * 14 - 20 * 22 * 20 - 18 * 24 * 16
    assert space.total(np.ones(space.n_nodes)) == pytest.approx(volume, rel=1e-12)
    assert space.pattern.sum() == pytest.approx(volume, rel=1e-12)


def test_every_operator_gives_nothing_for_a_constant(street):
    _, space = street
    velocity = np.random.default_rng(2).normal(size=(space.n_nodes, 3))
    for entries in (fem.advection(space, velocity), fem.diffusion(space)):
        assert np.abs(space.matrix(entries) @ np.ones(space.n_nodes)).max() < 1e-11 * np.abs(entries).max()


def test_transposed_finds_the_opposite_entry(street):
    _, space = street
    entries = np.random.default_rng(3).normal(size=space.pattern.nnz)
    assert abs(space.matrix(entries[space.transposed]) - space.matrix(entries).T).max() == 0
    assert np.array_equal(space.pattern.indices[space.diagonal], np.arange(space.n_nodes))


def test_divergence_of_a_linear_field_is_exact_inside():
    space, facets, _ = box_space((4, 4, 4), shake=0.2)
    velocity = space.points @ np.diag([3.0, -1.0, 0.5])
    weak = sum(d @ velocity[:, k] for k, d in enumerate(fem.divergence(space)))
    inside = np.setdiff1d(np.arange(space.n_nodes), facets)
    np.testing.assert_allclose(-weak[inside], 2.5 * space.mass[inside], rtol=1e-11)


def test_distributed_matrix_is_the_local_one(street):
    _, space = street
    matrix = space.matrix(fem.diffusion(space))
    indptr, indices, data = fem.distributed(space, matrix).getValuesCSR()
    assert abs(sp.csr_matrix((data, indices, indptr)) - matrix).max() == 0


def test_flat_cells_and_foreign_halos_are_refused():
    points = np.vstack([np.zeros(3), np.eye(3)])
    cells = np.array([[0, 1, 2, 3]])
    with pytest.raises(FileError, match="halo of process 0 is for 9 nodes, its mesh has 4"):
        fem.make_space(points, cells, serial_halo(9), MPI.COMM_SELF)
    points[3, 2] = 0
    with pytest.raises(FileError, match="cell 0 is flat"):
        fem.make_space(points, cells, serial_halo(4), MPI.COMM_SELF)
