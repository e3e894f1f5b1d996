"""Increments without divergence: the nearest, zero where the model prescribes the velocity, as of a dense solver."""

import numpy as np
import pytest
from box_mesh import box_mesh, flat_box_mesh
from fluidity_case import sides
from mpi4py import MPI
from skfem import (
    Basis,
    BilinearForm,
    ElementHex1,
    ElementQuad1,
    ElementTetP1,
    ElementTriP1,
    MeshHex,
    MeshQuad,
    MeshTet,
    MeshTri,
)
from skfem.helpers import grad

from coupling.fluidity.boundary import NORMAL, Boundary, held_squares
from coupling.fluidity.divergence import divergence_free, weak_divergence
from coupling.geometry.interpolation import multiply
from coupling.geometry.mass import lumped_mass
from coupling.geometry.mesh import join_pieces

COMM = MPI.COMM_SELF
STREET = {1: {0, 1, 2}, 5: {NORMAL}, 6: {2}}  # inflow, slippery ground, sky; the rest is open
CLOSED = {surface: {NORMAL} for surface in range(1, 7)}
NO_SLIP = {surface: {0, 1, 2} for surface in range(1, 7)}


FLAT_STREET = {1: {0, 1}, 3: {NORMAL}, 4: {1}}  # inflow, slippery ground, sky
FLAT_CLOSED = {surface: {NORMAL} for surface in range(1, 5)}


def bricks(name, n):
    """(Mesh, Boundary) of bricks, its sides numbered as those of `box_mesh`."""
    of = sides(name, n)
    part = (0, of.points, of.cells, np.zeros(len(of.cells), bool))
    return join_pieces([part], 1, COMM, of.shape), Boundary(of.points, of.facets, of.facet_ids)


def made(held, n=(4, 3, 3), size=(40.0, 30.0, 20.0), name=""):
    if name:
        mesh, boundary = bricks(name, n)
    else:
        mesh, boundary = box_mesh(n, size) if len(n) == 3 else flat_box_mesh(n, size[:2])
    mass = lumped_mass(mesh, "point", COMM)
    return mesh, boundary, divergence_free(mesh, mass, held_squares(boundary, mesh, held, COMM), COMM)


# with all walls held a coarse box allows nothing at all: there are more conditions than free components
CASES = {
    "street": (STREET,),
    "closed": (CLOSED,),
    "no slip": (NO_SLIP, (8, 7, 6)),
    "open": ({},),
    "flat street": (FLAT_STREET, (9, 8)),
    "flat closed": (FLAT_CLOSED, (9, 8)),
    "street of hexahedra": (STREET, (6, 5, 4), (), "hexahedra"),
    "street of quadrilaterals": (FLAT_STREET, (9, 8), (), "quadrilaterals"),
    "quadrilaterals, closed": (FLAT_CLOSED, (9, 8), (), "quadrilaterals"),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    return made(*request.param)


def some_increment(mesh, seed=0):
    return np.random.default_rng(seed).normal(size=mesh.points.shape)


def dense(projection):
    """B of a serial mesh as a dense matrix, its columns by node and component."""
    matrix = projection.divergence
    start, column, value = matrix.getValuesCSR()
    rows = np.zeros(matrix.getSize())
    np.add.at(rows, (np.repeat(np.arange(len(start) - 1), np.diff(start)), column), value)
    return rows


def test_weak_divergence_equals_quadrature():
    mesh, _ = box_mesh((3, 3, 2), (30.0, 20.0, 10.0))
    u = some_increment(mesh)
    basis = Basis(MeshTet(mesh.points.T.copy(), mesh.cells.T.copy()), ElementTetP1(), intorder=2)
    theirs = sum(BilinearForm(lambda a, v, w, d=d: grad(a)[d] * v).assemble(basis) @ u[:, d] for d in range(3))
    np.testing.assert_allclose(weak_divergence(mesh, u), theirs, atol=1e-12 * np.abs(theirs).max())
    linear = mesh.points @ np.diag([3.0, -1.0, 0.5])
    np.testing.assert_allclose(weak_divergence(mesh, linear), 2.5 * lumped_mass(mesh, "point", COMM), rtol=1e-11)


def test_weak_divergence_in_two_dimensions_equals_quadrature():
    mesh, _ = flat_box_mesh((5, 4), (30.0, 20.0))
    u = some_increment(mesh)
    basis = Basis(MeshTri(mesh.points[:, :2].T.copy(), mesh.cells.T.copy()), ElementTriP1(), intorder=2)
    theirs = sum(BilinearForm(lambda a, v, w, d=d: grad(a)[d] * v).assemble(basis) @ u[:, d] for d in range(2))
    np.testing.assert_allclose(weak_divergence(mesh, u), theirs, atol=1e-12 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("name", "element", "order"),
    [
        ("quadrilaterals", (MeshQuad, ElementQuad1), range(4)),
        ("hexahedra", (MeshHex, ElementHex1), (0, 4, 3, 1, 7, 5, 2, 6)),  # VTK's corners in their order
    ],
)
def test_weak_divergence_of_bricks_equals_quadrature(name, element, order):
    mesh, _ = bricks(name, (3, 4, 2))
    d, u = mesh.shape.dimension, some_increment(mesh)
    kind, functions = element
    cells = np.ascontiguousarray(mesh.cells[:, list(order)].T)
    basis = Basis(kind(np.ascontiguousarray(mesh.points[:, :d].T), cells, sort_t=False), functions(), intorder=7)
    theirs = sum(BilinearForm(lambda a, v, w, k=k: grad(a)[k] * v).assemble(basis) @ u[:, k] for k in range(d))
    np.testing.assert_allclose(weak_divergence(mesh, u), theirs, atol=1e-12 * np.abs(theirs).max())
    linear = mesh.points @ np.diag([3.0, -1.0, 0.5 * (d == 3)])
    expected = (2.5 if d == 3 else 2.0) * lumped_mass(mesh, "point", COMM)
    np.testing.assert_allclose(weak_divergence(mesh, linear), expected, rtol=1e-11)


def test_the_operator_and_its_adjoint(case):
    mesh, _, projection = case
    rng = np.random.default_rng(1)
    u, q = rng.normal(size=3 * mesh.n_nodes), rng.normal(size=mesh.n_nodes)
    b = projection.divergence
    forth, back = q @ multiply(b, u), u @ multiply(b, q, transpose=True)
    assert abs(forth - back) <= 1e-13 * np.linalg.norm(q) * np.linalg.norm(multiply(b, u))
    free = np.einsum("nij,nj->ni", projection.free, u.reshape(-1, 3))
    expected = weak_divergence(mesh, free)
    np.testing.assert_allclose(multiply(b, u), expected, atol=1e-12 * np.abs(expected).max())


def test_it_equals_a_dense_solution(case):
    mesh, _, projection = case
    u, b = some_increment(mesh), dense(projection)
    mass = np.repeat(projection.mass, 3)
    given = np.einsum("nij,nj->ni", projection.free, u).ravel()
    expected = given - (b.T @ np.linalg.lstsq((b / mass) @ b.T, b @ u.ravel(), rcond=1e-13)[0]) / mass
    projected = projection.project(u)
    np.testing.assert_allclose(projected.increment.ravel(), expected, atol=1e-9 * np.abs(u).max())
    assert projected.after < 1e-9 * projected.before and 0 < projected.fraction < 1


def test_it_is_zero_where_the_model_prescribes_the_velocity():
    mesh, boundary, projection = made(STREET)
    increment = projection.project(some_increment(mesh)).increment
    assert (increment[boundary.nodes_on([1])] == 0).all()
    assert (increment[boundary.nodes_on([5, 6]), 2] == 0).all()
    assert np.abs(increment[boundary.nodes_on([2]), 0]).min() > 0


def test_it_is_idempotent_and_the_correction_is_orthogonal_to_allowed_increments(case):
    mesh, _, projection = case
    u = some_increment(mesh)
    once = projection.project(u).increment
    twice = projection.project(once)
    assert np.abs(twice.increment - once).max() <= 1e-9 * np.abs(u).max() and twice.fraction == pytest.approx(
        1.0, abs=1e-9
    )
    other = projection.project(some_increment(mesh, 7)).increment
    inner = (projection.mass[:, None] * (u - once) * other).sum()
    assert abs(inner) <= 1e-9 * (projection.mass[:, None] * np.abs(u) * np.abs(other)).sum()


def test_it_is_linear_and_leaves_zero_unchanged(case):
    mesh, _, projection = case
    u = some_increment(mesh)
    np.testing.assert_allclose(
        projection.project(-2.5 * u).increment, -2.5 * projection.project(u).increment, atol=1e-9 * np.abs(u).max()
    )
    nothing = projection.project(0.0 * u)
    assert (nothing.increment == 0).all() and nothing.before == nothing.after == 0.0 and nothing.fraction == 1.0


def test_it_is_zero_where_a_flat_model_prescribes_the_velocity():
    mesh, boundary, projection = made(FLAT_STREET, (9, 8))
    increment = projection.project(some_increment(mesh)).increment
    assert (increment[boundary.nodes_on([1])][:, :2] == 0).all()
    assert (increment[boundary.nodes_on([3, 4]), 1] == 0).all()
    assert np.abs(increment[boundary.nodes_on([2]), 0]).min() > 0


def test_a_uniform_wind_through_an_open_box_is_unchanged():
    mesh, _, projection = made({5: {NORMAL}, 6: {NORMAL}})
    wind = np.tile([3.0, -1.0, 0.0], (mesh.n_nodes, 1))
    np.testing.assert_allclose(projection.project(wind).increment, wind, atol=1e-12)


def test_the_divergence_of_a_linear_field_has_its_own_unit():
    mesh, _, projection = made({})
    projected = projection.project(mesh.points @ np.diag([3.0, -1.0, 0.5]))
    assert projected.before == pytest.approx(2.5, rel=1e-12)
