"""Cells of every shape: weights against VTK's own, polynomials, masses, P and Q, pieces and ranks."""

import numpy as np
import pytest
from mpi4py import MPI
from shaped_mesh import BOX, EVERY_SHAPE, shape_named, shaped_cells, shaped_mesh
from vtkmodules.vtkCommonCore import reference

from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply, sampling, trilinear
from coupling.geometry.location import locate_grid, locate_points
from coupling.geometry.mass import integral_by_mass, lumped_mass
from coupling.geometry.mesh import Field as MeshField
from coupling.geometry.mesh import MeshError, State, join_pieces
from coupling.geometry.points import mesh_points
from coupling.geometry.shapes import bent, linear
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import as_grid, read_state

COMM = MPI.COMM_SELF
SLOPE = np.array([0.3, -1.2, 2.0])
SPAN = np.ptp(BOX, axis=0)


@pytest.fixture(params=EVERY_SHAPE)
def name(request):
    return request.param


@pytest.fixture
def mesh(name):
    return shaped_mesh(name)


@pytest.fixture
def places(mesh):
    """Places in the box, those of a flat mesh in its plane."""
    return np.random.default_rng(1).uniform(*BOX, (200, 3)) * (1, 1, mesh.shape.dimension == 3)


def grid_of(mesh, n=(9, 8, 7)):
    grid = make_grid(mesh.bounds(COMM), shape=n[: mesh.shape.dimension])
    return grid.with_fluid(fluid_points(grid, mesh, COMM))


def polynomial(shape, places):
    """Of the shape's own degree."""
    x, y, z = places.T
    return places @ SLOPE + 5 + (0 if shape.degree == 1 else x * y - 2 * y * z + 3 * x * x - z * z)


def test_weights_are_those_of_vtk(mesh, places):
    found = locate_points(mesh.points, mesh.cells, mesh.ghost, places, mesh.shape)
    assert found.point.tolist() == list(range(len(places)))
    grid = as_grid(mesh.points, mesh.cells, mesh.shape)
    nearest, local, part, away = [0.0] * 3, [0.0] * 3, reference(0), reference(0.0)
    for k, cell, weights in zip(found.point, found.cell, found.weights, strict=True):
        theirs = [0.0] * mesh.shape.n_nodes
        assert grid.GetCell(int(cell)).EvaluatePosition(places[k], nearest, part, local, away, theirs) == 1
        np.testing.assert_allclose(weights, theirs, atol=1e-4)  # its Newton's method ends early in quadratic cells
        np.testing.assert_allclose(weights @ mesh.points[mesh.cells[cell]], places[k], atol=1e-12)
        assert weights.sum() == pytest.approx(1.0, abs=1e-14)


def test_polynomials_of_their_degree_are_exact(mesh, places):
    matrix, inside = sampling(mesh, "point", places, COMM)
    assert inside.all()
    sampled = multiply(matrix, polynomial(mesh.shape, mesh.points))
    np.testing.assert_allclose(sampled, polynomial(mesh.shape, places), atol=1e-12)


def test_places_outside_are_in_no_cell(mesh):
    flat = mesh.shape.dimension == 2
    outside = np.array([[-0.1, 1, 0.5], [3.01, 1, 0.5], [1, 2.5, 0.5], [1, 1, 1.2], [1, 1, -1e-3], [1e6, 1e6, 0.5]])
    outside[[0, 1, 2, 5], 2] *= not flat
    assert not sampling(mesh, "point", outside, COMM)[1].any()
    assert not sampling(mesh, "cell", outside[:1], COMM)[1].any()


def test_scattered_and_gridded_search_agree(mesh):
    grid = grid_of(mesh)
    by_grid = locate_grid(mesh.points, mesh.cells, mesh.ghost, grid, mesh.shape)
    everywhere = grid.coordinates(np.arange(grid.n_points))
    by_point = locate_points(mesh.points, mesh.cells, mesh.ghost, everywhere, mesh.shape)
    np.testing.assert_array_equal(by_grid.point, by_point.point)
    np.testing.assert_array_equal(by_grid.cell, by_point.cell)
    np.testing.assert_allclose(by_grid.weights, by_point.weights, atol=1e-9)


def test_nodes_have_their_own_weight_alone(name):
    points, cells = shaped_cells(name)
    shape = shape_named(name)
    locate, flat = shape.locator(points[cells])
    assert not flat.any()
    for k in range(shape.n_nodes):
        weights = shape.weights(locate(np.arange(len(cells)), points[cells[:, k]]))
        np.testing.assert_allclose(weights, np.tile(np.eye(shape.n_nodes)[k], (len(cells), 1)), atol=1e-12)


def test_volumes_and_masses(mesh):
    size = SPAN[: mesh.shape.dimension].prod()
    assert mesh.volumes.sum() == pytest.approx(size, rel=1e-13)
    masses = mesh.shape.masses(mesh.points[mesh.cells])
    np.testing.assert_allclose(masses.sum(axis=1), mesh.volumes, rtol=1e-12)
    # a field of the shape's degree, against a sum over many places
    dense = np.stack(np.meshgrid(*[(np.arange(40) + 0.5) / 40] * mesh.shape.dimension, indexing="ij"), -1)
    dense = np.pad(dense.reshape(-1, mesh.shape.dimension), ((0, 0), (0, 3 - mesh.shape.dimension))) * SPAN
    exact = polynomial(mesh.shape, dense).mean() * size
    integral = (masses * polynomial(mesh.shape, mesh.points)[mesh.cells]).sum()
    assert integral == pytest.approx(exact, rel=1e-13 if mesh.shape.degree == 1 else 1e-3)


@pytest.mark.parametrize("n_pieces", [1, 3])
def test_lumped_mass_integrates_linear_fields(name, n_pieces):
    mesh = shaped_mesh(name, n_pieces)
    size = SPAN[: mesh.shape.dimension].prod()
    assert lumped_mass(mesh, "cell", COMM).sum() == pytest.approx(size, rel=1e-13)
    mass = lumped_mass(mesh, "point", COMM)
    middle = SPAN / 2 * (1, 1, mesh.shape.dimension == 3)
    np.testing.assert_allclose(mass @ mesh.points, size * middle, rtol=1e-12)


@pytest.mark.parametrize("n_pieces", [1, 3])
def test_mass_and_its_ratio_integrate_fields_of_the_shapes_own_degree(name, n_pieces):
    """Each place counts once; of quadratic cells the ratios are what their functions' integrals lack."""
    mesh = shaped_mesh(name, n_pieces)
    mass, ratio = lumped_mass(mesh, "point", COMM), integral_by_mass(mesh, "point")
    assert (mass >= 0.0).all() and (ratio == 1.0).all() == (mesh.shape.degree == 1)
    nodes = mesh.points[mesh.cells[~mesh.ghost]]
    values = polynomial(mesh.shape, mesh.points)
    expected = (mesh.shape.masses(nodes) * values[mesh.cells[~mesh.ghost]]).sum()
    assert (mass * ratio) @ values == pytest.approx(expected, rel=1e-12)
    assert (integral_by_mass(mesh, "cell") == 1.0).all()


@pytest.mark.parametrize("location", ["point", "cell"])
@pytest.mark.parametrize("n_pieces", [1, 3])
def test_adjoints_and_constants(name, location, n_pieces):
    mesh = shaped_mesh(name, n_pieces)
    grid = grid_of(mesh)
    both = interpolation(mesh, location, grid, COMM)
    n = mesh.n_nodes if location == "point" else mesh.n_cells
    rng = np.random.default_rng(1)
    for matrix, (rows, columns) in ((both.to_grid, (grid.n_points, n)), (both.to_mesh, (n, grid.n_points))):
        x, y = rng.standard_normal(columns), rng.standard_normal(rows)
        assert multiply(matrix, x) @ y == pytest.approx(x @ multiply(matrix, y, transpose=True), rel=1e-12)
    assert grid.fluid.all()
    np.testing.assert_allclose(multiply(both.to_grid, np.ones(n)), 1.0, atol=1e-12)
    np.testing.assert_allclose(multiply(both.to_mesh, np.ones(grid.n_points)), 1.0, atol=1e-12)


def test_both_ways_are_those_of_dense_matrices(mesh):
    """P from the weights of cells one by one, Q from products of hat functions of the grid."""
    grid = grid_of(mesh)
    both = interpolation(mesh, "point", grid, COMM)
    everywhere = grid.coordinates(np.arange(grid.n_points))
    p, q = np.zeros((grid.n_points, mesh.n_nodes)), np.ones((mesh.n_nodes, grid.n_points))
    locate, _ = mesh.shape.locator(mesh.points[mesh.cells])
    for row, place in enumerate(everywhere):
        local = locate(np.arange(mesh.n_cells), np.tile(place, (mesh.n_cells, 1)))
        cell = int(np.flatnonzero(mesh.shape.margins(local) >= -1e-9)[0])
        p[row, mesh.cells[cell]] = mesh.shape.weights(local[cell : cell + 1])[0]
    for d in range(mesh.shape.dimension):
        apart = np.abs(mesh.points[:, None, d] - everywhere[None, :, d]) / grid.spacing[d]
        q *= np.maximum(1 - apart, 0)
    np.testing.assert_allclose(multiply(both.to_grid, np.eye(mesh.n_nodes)), p, atol=1e-12)
    np.testing.assert_allclose(multiply(both.to_mesh, np.eye(grid.n_points)), q, atol=1e-12)


def test_a_dump_comes_back_bit_for_bit(name, tmp_path):
    for n_pieces in (1, 3):
        mesh = shaped_mesh(name, n_pieces)
        rng = np.random.default_rng(2)
        fields = {
            "Tracer": MeshField("Tracer", mesh, rng.standard_normal(mesh.n_nodes)),
            "Wind": MeshField("Wind", mesh, rng.standard_normal((mesh.n_nodes, 3))),
            "P0": MeshField("P0", mesh, rng.standard_normal(mesh.n_cells), "cell"),
        }
        again = read_state(write_dump(State(3.0, fields), tmp_path / f"s{n_pieces}", COMM), COMM)
        assert again["Tracer"].mesh.fingerprint == mesh.fingerprint and again["P0"].mesh.shape is mesh.shape
        for field, values in fields.items():
            np.testing.assert_array_equal(again[field].values, values.values)


def test_points_of_the_mesh_itself_have_each_node_once(name):
    mesh = shaped_mesh(name, 3)
    points = mesh_points(mesh, COMM)
    assert points.n_points == len(np.unique(mesh.points, axis=0)) < mesh.n_nodes
    between = points.between
    values = polynomial(mesh.shape, mesh.points)
    np.testing.assert_array_equal(multiply(between.to_mesh, multiply(between.to_grid, values)), values)


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_same(mpirun, ranks):
    mpirun(ranks, "tests/coupling/geometry/parallel_shapes.py")


def test_pieces_of_several_shapes_are_no_mesh():
    triangles, quads = shaped_cells("triangles"), shaped_cells("quadrilaterals")
    parts = [(k, *cells, np.zeros(len(cells[1]), bool)) for k, cells in enumerate((triangles, quads))]

    class Two:
        def allgather(self, value):
            return [shape_named("triangles"), shape_named("quadrilaterals")]

    with pytest.raises(MeshError, match="pieces of triangles and of quadrilaterals; expected cells of one shape"):
        join_pieces(parts, 2, Two(), shape_named("triangles"))


def test_meshes_of_equal_nodes_and_other_shapes_differ():
    points, cells = shaped_cells("quadrilaterals")
    part = [(0, points, cells, np.zeros(len(cells), bool))]
    one, other = (join_pieces(part, 1, COMM, shape_named(of)) for of in ("quadrilaterals", "tetrahedra"))
    assert one.fingerprint != other.fingerprint


def test_bent_edges_are_noticed(name):
    points, cells = shaped_cells(name)
    shape = shape_named(name)
    assert not bent(shape, points[cells]).any()
    if shape.degree == 2:
        points[cells[3, -1], 0] += 0.01
        assert bent(shape, points[cells])[3]


def test_the_share_on_a_plane_is_bilinear_and_fades_outside():
    grid = make_grid([[0, 0, 2], [4, 4, 2]], shape=(5, 5))
    assert grid.shape == (5, 5, 1) and grid.coordinates(7)[2] == 2.0
    index, share = trilinear(grid, np.array([[1.25, 2.5, 2.0], [4.5, 2, 2], [5, 2, 2]]))
    np.testing.assert_allclose(share.sum(axis=1), [1, 0.5, 0])
    dense = np.bincount(index[0], share[0], minlength=25).reshape(5, 5)
    expected = np.zeros((5, 5))
    expected[1:3, 2:4] = np.outer([0.75, 0.25], [0.5, 0.5])
    np.testing.assert_allclose(dense, expected)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"shape": (4, 4, 3)}, "lies in a plane; two numbers"),
        ({"shape": (1, 4)}, "two numbers of at least 2"),
        ({"spacing": (1, 1, 1, 1)}, "one number or three"),
    ],
)
def test_a_plane_has_two_numbers(how, words):
    with pytest.raises(MeshError, match=words):
        make_grid([[0, 0, 2], [4, 4, 2]], **how)


def test_a_plane_takes_a_third_number_that_says_nothing():
    box = [[0, 0, 2], [4, 4, 2]]
    assert make_grid(box, shape=(5, 5, 1)).fingerprint == make_grid(box, shape=(5, 5)).fingerprint
    assert make_grid(box, spacing=(1, 1, 9)).shape == make_grid(box, spacing=1.0).shape == (5, 5, 1)


def test_corners_have_a_linear_shape(name):
    shape = shape_named(name)
    corners = linear(shape)
    assert corners.degree == 1 and corners.n_nodes == shape.n_corners and corners.dimension == shape.dimension
