"""P, Q and sampling: exactness, adjoints, walls, seams, ranks."""

from zipfile import ZipFile

import numpy as np
import pytest
from mpi4py import MPI
from polyhedra import small_mesh, street_mesh, whole_and_in_pieces

from coupling.common.files import FileError
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply, sampling, trilinear
from coupling.geometry.location import locate_grid, locate_points
from coupling.geometry.mesh import MeshError, join_pieces
from coupling.geometry.polyhedra_location import locate_grid_in_polyhedra, locate_points_in_polyhedra
from coupling.vtk.vtu import read_state

COMM = MPI.COMM_SELF
DUMPS = ["serial/mini_3.vtu", "parallel/mini_3.pvtu", "adaptive/mini_3.vtu"]
POLYHEDRA = {"boxes": street_mesh, "warped": lambda: street_mesh(shake=0.2), "openfoam": small_mesh}
SLOPE = np.array([0.3, -1.2, 2.0])


@pytest.fixture(params=DUMPS)
def case(request, fluidity_data):
    """A dump's mesh and a grid over it."""
    mesh = read_state(fluidity_data / request.param, COMM, ["Tracer"])["Tracer"].mesh
    grid = make_grid(mesh.bounds(COMM), shape=(24, 17, 9))
    return mesh, grid.with_fluid(fluid_points(grid, mesh, COMM))


def with_air(mesh, shape=(24, 17, 9)):
    """A grid over a mesh, its fluid points marked."""
    grid = make_grid(mesh.bounds(COMM), shape=shape)
    return grid.with_fluid(fluid_points(grid, mesh, COMM))


@pytest.fixture(params=list(POLYHEDRA))
def polyhedra(request):
    """A mesh of polyhedra and a grid over it, of which some points lie on faces."""
    mesh = POLYHEDRA[request.param]()
    return mesh, with_air(mesh)


@pytest.fixture(
    params=[(name, at) for name in DUMPS for at in ("point", "cell")] + [(name, "cell") for name in POLYHEDRA]
)
def any_case(request, fluidity_data):
    """A mesh, where it has its values, and a grid over it."""
    name, location = request.param
    if name in POLYHEDRA:
        mesh = POLYHEDRA[name]()
    else:
        mesh = read_state(fluidity_data / name, COMM, ["Tracer"])["Tracer"].mesh
    return mesh, location, with_air(mesh)


def test_adjoints(any_case):
    mesh, location, grid = any_case
    both = interpolation(mesh, location, grid, COMM)
    rng = np.random.default_rng(1)
    n = mesh.n_nodes if location == "point" else mesh.n_cells
    for matrix, (rows, columns) in ((both.to_grid, (grid.n_points, n)), (both.to_mesh, (n, grid.n_points))):
        x, y = rng.standard_normal(columns), rng.standard_normal(rows)
        forward = multiply(matrix, x) @ y
        assert forward == pytest.approx(x @ multiply(matrix, y, transpose=True), rel=1e-12)


def test_linear_fields_are_exact_on_the_grid(case):
    mesh, grid = case
    on_grid = multiply(interpolation(mesh, "point", grid, COMM).to_grid, mesh.points @ SLOPE + 5)
    expected = grid.coordinates(np.arange(grid.n_points)) @ SLOPE + 5
    fluid = grid.fluid_points
    np.testing.assert_allclose(on_grid[fluid], expected[fluid], atol=1e-9)
    assert (on_grid[~fluid] == 0).all()


def test_linear_fields_are_exact_on_the_mesh_away_from_walls(any_case):
    mesh, location, grid = any_case
    places = mesh.points if location == "point" else mesh.centroids
    index, _ = trilinear(grid, places)
    free = grid.fluid_points[index].all(axis=1)
    values = np.where(grid.fluid_points, grid.coordinates(np.arange(grid.n_points)) @ SLOPE + 5, 0.0)
    on_mesh = multiply(interpolation(mesh, location, grid, COMM).to_mesh, values)
    assert free.sum() > 100
    np.testing.assert_allclose(on_mesh[free], (places @ SLOPE + 5)[free], atol=1e-9)


def test_constants_stay_constant_both_ways(any_case):
    mesh, location, grid = any_case
    both = interpolation(mesh, location, grid, COMM)
    n = mesh.n_nodes if location == "point" else mesh.n_cells
    ones = grid.fluid_points.astype(float)
    np.testing.assert_allclose(multiply(both.to_grid, np.ones(n)), ones, atol=1e-12)
    np.testing.assert_allclose(multiply(both.to_mesh, ones), 1.0, atol=1e-12)


def test_values_of_solid_points_never_reach_the_mesh(any_case):
    mesh, location, grid = any_case
    poison = np.where(grid.fluid_points, 1.0, 1e30)
    np.testing.assert_allclose(multiply(interpolation(mesh, location, grid, COMM).to_mesh, poison), 1.0, atol=1e-12)


def test_copies_of_a_node_get_the_same_value(fluidity_data):
    mesh = read_state(fluidity_data / "parallel/mini_3.pvtu", COMM, ["Tracer"])["Tracer"].mesh
    grid = make_grid(mesh.bounds(COMM), shape=(24, 17, 9))
    grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
    values = np.random.default_rng(2).standard_normal(grid.n_points)
    on_mesh = multiply(interpolation(mesh, "point", grid, COMM).to_mesh, values)
    _, first, inverse = np.unique(mesh.points, axis=0, return_index=True, return_inverse=True)
    assert len(first) < mesh.n_nodes
    np.testing.assert_array_equal(on_mesh, on_mesh[first][inverse.ravel()])


def test_fluid_points_are_those_outside_buildings(case):
    mesh, grid = case
    places = grid.coordinates(np.arange(grid.n_points))
    # building 3 of tests/data/fluidity/serial/mesh.geo, and the air above it
    building = ((places > [110, 130, -1]) & (places < [150, 180, 45])).all(axis=1)
    above = ((places > [110, 130, 46]) & (places < [150, 180, 119])).all(axis=1)
    assert building.any() and not grid.fluid_points[building].any()
    assert above.any() and grid.fluid_points[above].all()


def test_node_with_solid_corners_only_takes_the_nearest_fluid_point():
    grid = make_grid([[0, 0, 0], [4, 4, 4]], shape=(5, 5, 5))
    fluid = np.zeros((5, 5, 5), bool)
    fluid[4, :, :] = True
    index, share = trilinear(grid.with_fluid(fluid), np.array([[1.0, 2.2, 3.1]]))
    assert np.unravel_index(index[0, share[0] > 0][0], grid.shape) == (4, 2, 3)
    assert share.sum() == 1.0


def test_nodes_outside_the_box_fade_out_over_one_spacing():
    grid = make_grid([[0, 0, 0], [4, 4, 4]], shape=(5, 5, 5))
    _, share = trilinear(grid, np.array([[4.0, 2, 2], [4.5, 2, 2], [5.0, 2, 2], [9.0, 2, 2]]))
    np.testing.assert_allclose(share.sum(axis=1), [1, 0.5, 0, 0], atol=1e-12)


def test_another_mesh_of_the_same_place_fills_all_fluid_points(fluidity_data):
    first = read_state(fluidity_data / "serial/mini_3.vtu", COMM, ["Tracer"])["Tracer"].mesh
    other = read_state(fluidity_data / "adaptive/mini_3.vtu", COMM, ["Tracer"])["Tracer"].mesh
    grid = make_grid(first.bounds(COMM), shape=(24, 17, 9))
    grid = grid.with_fluid(fluid_points(grid, first, COMM))
    on_grid = multiply(interpolation(other, "point", grid, COMM).to_grid, np.ones(other.n_nodes))
    np.testing.assert_allclose(on_grid, grid.fluid_points, atol=1e-12)


def test_a_mesh_of_another_place_is_refused(any_case):
    mesh, location, _ = any_case
    elsewhere = make_grid([[5000, 0, 0], [5100, 50, 50]], shape=(5, 5, 5))
    with pytest.raises(MeshError, match="were grid and mesh made for the same place"):
        interpolation(mesh, location, elsewhere, COMM)


def test_sampling_is_barycentric_and_marks_places_outside(case):
    mesh, _ = case
    places = np.array([[20.0, 20, 10], [130, 155, 10], [300, 200, 80], [-5, 0, 0]])
    matrix, inside = sampling(mesh, "point", places, COMM)
    assert inside.tolist() == [True, False, True, False]
    sampled = multiply(matrix, mesh.points @ SLOPE + 5)
    np.testing.assert_allclose(sampled, np.where(inside, places @ SLOPE + 5, 0), atol=1e-9)


def test_scattered_and_gridded_search_agree(case):
    mesh, grid = case
    by_grid = locate_grid(mesh.points, mesh.cells, mesh.ghost, grid)
    by_point = locate_points(mesh.points, mesh.cells, mesh.ghost, grid.coordinates(np.arange(grid.n_points)))
    np.testing.assert_array_equal(by_grid.point, by_point.point)
    np.testing.assert_array_equal(by_grid.cell, by_point.cell)
    np.testing.assert_allclose(by_grid.weights, by_point.weights, atol=1e-9)


def cells_about(mesh, places):
    """(cells, places) bool, whether a cell's surface is all around a place, by the solid angles of its triangles.

    Van Oosterom and Strackee 1983, The solid angle of a plane triangle, IEEE Trans. Biomed. Eng. 30.
    """
    edges = [end[:, None] - places for end in mesh.face_edges]
    corners = [*edges, np.repeat(mesh.face_centres, np.diff(mesh.face_offsets), axis=0)[:, None] - places]
    long = [np.linalg.norm(c, axis=2) for c in corners]
    products = [np.sum(corners[i] * corners[j], axis=2) * long[k] for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
    triple = np.sum(corners[0] * np.cross(corners[1], corners[2]), axis=2)
    angle = 2.0 * np.arctan2(triple, long[0] * long[1] * long[2] + sum(products))
    of_faces = np.add.reduceat(angle, mesh.face_offsets[:-1], axis=0)
    total = np.zeros((mesh.n_cells, len(places)))
    np.add.at(total, mesh.cell_faces.cell, mesh.cell_faces.sign[:, None] * of_faces[mesh.cell_faces.face])
    return total > 2 * np.pi


def test_a_point_has_the_value_of_the_cell_whose_surface_is_around_it(polyhedra):
    mesh, _ = polyhedra
    low, high = mesh.bounds(COMM)
    grid = make_grid([low + 0.0137 * (high - low), high - 0.0071 * (high - low)], shape=(13, 11, 7))
    around = cells_about(mesh, grid.coordinates(np.arange(grid.n_points)))
    assert around.sum(axis=0).max() == 1 and 0.5 < around.any(axis=0).mean() < 1.0
    grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
    np.testing.assert_array_equal(grid.fluid_points, around.any(axis=0))
    dense = interpolation(mesh, "cell", grid, COMM).to_grid.convert("dense").getDenseArray()
    np.testing.assert_array_equal(dense, around.T)


def test_points_on_faces_and_corners_have_a_cell_that_touches_them(polyhedra):
    mesh, _ = polyhedra
    for places, cells in ((mesh.face_centres, mesh.owner), (mesh.points, None)):
        matrix, inside = sampling(mesh, "cell", places, COMM)
        assert inside.all()
        if cells is not None:
            column = matrix.getValuesCSR()[1]
            assert ((column == mesh.owner) | (column == mesh.neighbour)).all()


def test_scattered_and_gridded_search_of_polyhedra_agree(polyhedra):
    mesh, grid = polyhedra
    by_grid = locate_grid_in_polyhedra(mesh, mesh.pieces[0], grid)
    places = grid.coordinates(np.arange(grid.n_points))
    by_point = locate_points_in_polyhedra(mesh, mesh.pieces[0], places)
    for one, other in zip(vars(by_grid).values(), vars(by_point).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shake", [0.0, 0.2])
def test_a_mesh_in_pieces_gives_what_the_whole_one_gives(shake):
    mesh, pieces, place = whole_and_in_pieces(shake)
    grid = with_air(mesh)
    np.testing.assert_array_equal(fluid_points(grid, pieces, COMM), grid.fluid_points)
    values = np.random.default_rng(6).standard_normal(mesh.n_cells)
    of_pieces = np.empty_like(values)
    of_pieces[place] = values
    one, other = interpolation(mesh, "cell", grid, COMM), interpolation(pieces, "cell", grid, COMM)
    on_grid = multiply(one.to_grid, values)
    np.testing.assert_array_equal(multiply(other.to_grid, of_pieces), on_grid)
    np.testing.assert_allclose(multiply(other.to_mesh, on_grid)[place], multiply(one.to_mesh, on_grid), atol=1e-12)


def test_a_point_in_no_cell_has_the_value_of_the_nearest_centre(polyhedra):
    mesh, grid = polyhedra
    everywhere = grid.with_fluid(np.ones(grid.n_points, bool))
    places = grid.coordinates(np.arange(grid.n_points))
    column = interpolation(mesh, "cell", everywhere, COMM).to_grid.getValuesCSR()[1]
    solid = ~grid.fluid_points
    assert solid.any()
    distance = np.linalg.norm(places[solid][:, None] - mesh.centroids, axis=2)
    np.testing.assert_allclose(distance[np.arange(len(distance)), column[solid]], distance.min(axis=1), rtol=1e-12)


def test_a_point_may_be_outside_by_a_spacing_however_large_the_cells_are():
    mesh = street_mesh()
    low, high = mesh.bounds(COMM)
    for beyond, fits in ((1.0, True), (30.0, False)):
        grid = make_grid([low, high + [beyond, 0.0, 0.0]], spacing=1.5)
        grid = grid.with_fluid(np.arange(grid.n_points) == grid.n_points - 1)
        if fits:
            assert multiply(interpolation(mesh, "cell", grid, COMM).to_grid, np.ones(mesh.n_cells))[-1] == 1.0
        else:
            with pytest.raises(MeshError, match=r"lies 2\d.* m outside the mesh"):
                interpolation(mesh, "cell", grid, COMM)


def test_cache_gives_the_same_matrices(any_case, tmp_path):
    mesh, location, grid = any_case
    x = np.random.default_rng(3).standard_normal(mesh.n_nodes if location == "point" else mesh.n_cells)
    g = np.random.default_rng(4).standard_normal(grid.n_points)
    built = interpolation(mesh, location, grid, COMM, tmp_path)
    files = sorted(tmp_path.iterdir())
    stamps = [f.stat().st_mtime_ns for f in files]
    stored = interpolation(mesh, location, grid, COMM, tmp_path)
    assert [f.stat().st_mtime_ns for f in sorted(tmp_path.iterdir())] == stamps and len(files) == 2 * mesh.n_pieces
    np.testing.assert_array_equal(multiply(built.to_grid, x), multiply(stored.to_grid, x))
    np.testing.assert_array_equal(multiply(built.to_mesh, g), multiply(stored.to_mesh, g))


@pytest.mark.parametrize("wrong", [{}, {"shape": (3, 3, 3), "spacing": 1.0}, {"shape": (1, 3, 3)}])
def test_grid_needs_a_shape_or_a_spacing(wrong):
    with pytest.raises(MeshError):
        make_grid([[0, 0, 0], [1, 1, 1]], **wrong)


def test_grid_of_a_spacing_fits_the_box():
    grid = make_grid([[0, 0, 0], [10, 20, 31]], spacing=5.0)
    assert grid.shape == (3, 5, 7)
    np.testing.assert_allclose(grid.coordinates(grid.n_points - 1), [10, 20, 31])


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_same(mpirun, ranks):
    mpirun(ranks, "tests/coupling/geometry/parallel_interpolation.py")


def _text(path):
    path.write_text("no array")


def _cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def _single(path):
    with open(path, "wb") as file:
        np.save(file, np.arange(3))


def _others(path):
    with open(path, "wb") as file:
        np.savez(file, other=np.arange(3))


def _objects(path):
    with open(path, "wb") as file:
        np.savez(file, point=np.array([{}], dtype=object))


def _claim(path):
    with ZipFile(path, "w") as archive, archive.open("point.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})


@pytest.mark.parametrize("harm", [_text, _cut, _single, _others, _objects, _claim, lambda path: path.write_bytes(b"")])
def test_a_damaged_cache_is_named(tmp_path, harm):
    mesh = join_pieces([(0, np.vstack([np.zeros(3), np.eye(3)]), np.array([[0, 1, 2, 3]]), np.zeros(1, bool))], 1, COMM)
    grid = make_grid(mesh.bounds(COMM), spacing=0.5)
    fluid_points(grid, mesh, COMM, tmp_path)
    (path,) = tmp_path.iterdir()
    harm(path)
    with pytest.raises(FileError, match="grid-in-mesh-.*npz: is damaged: .*; remove it, it is made anew"):
        fluid_points(grid, mesh, COMM, tmp_path)
    path.unlink()
    fluid_points(grid, mesh, COMM, tmp_path)
