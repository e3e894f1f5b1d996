"""P with the slopes of fields in cells: exactness, adjoints, a dense reference, walls, seams."""

import numpy as np
import pytest
from mpi4py import MPI
from polyhedra import lattice, small_mesh, street_mesh, whole_and_in_pieces

from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply
from coupling.geometry.polyhedra import join_polyhedra
from coupling.geometry.reconstruction import following_slopes, gradients

COMM = MPI.COMM_SELF
SLOPE = np.array([0.3, -1.2, 2.0])


def pair(mesh, shape=(13, 11, 9)):
    """A grid over a mesh, and P between them that follows slopes."""
    grid = make_grid(mesh.bounds(COMM), shape=shape)
    grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
    return grid, following_slopes(interpolation(mesh, "cell", grid, COMM).to_grid, mesh, grid, COMM)


@pytest.fixture(params=["boxes", "warped", "openfoam"])
def mesh(request):
    return {"boxes": street_mesh, "warped": lambda: street_mesh(0.2), "openfoam": small_mesh}[request.param]()


def test_linear_fields_are_exact(mesh):
    grid, to_grid = pair(mesh)
    expected = grid.coordinates(np.arange(grid.n_points)) @ SLOPE + 5.0
    on_grid = multiply(to_grid, mesh.centroids @ SLOPE + 5.0)
    fluid = grid.fluid_points
    np.testing.assert_allclose(on_grid[fluid], expected[fluid], atol=1e-9)
    assert (on_grid[~fluid] == 0.0).all()


def test_a_constant_stays_constant(mesh):
    grid, to_grid = pair(mesh)
    np.testing.assert_allclose(multiply(to_grid, np.ones(mesh.n_cells)), grid.fluid_points, atol=1e-12)


def test_adjoint(mesh):
    grid, to_grid = pair(mesh)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(mesh.n_cells), rng.standard_normal(grid.n_points)
    assert multiply(to_grid, x) @ y == pytest.approx(x @ multiply(to_grid, y, transpose=True), rel=1e-12)


def test_gradients_are_those_of_numpys_least_squares(mesh):
    inner = np.flatnonzero(mesh.neighbour >= 0)
    pairs = [(a, b) for f in inner for a, b in ((mesh.owner[f], mesh.neighbour[f]), (mesh.neighbour[f], mesh.owner[f]))]
    of = [[b for a, b in pairs if a == cell] for cell in range(0, mesh.n_cells, 37)]
    x = np.random.default_rng(2).standard_normal(mesh.n_cells)
    found = np.column_stack([multiply(gradient, x) for gradient in gradients(mesh, COMM)])
    for cell, others in zip(range(0, mesh.n_cells, 37), of, strict=True):
        away = mesh.centroids[others] - mesh.centroids[cell]
        distance = np.linalg.norm(away, axis=1)
        expected = np.linalg.lstsq(away / distance[:, None], (x[others] - x[cell]) / distance, rcond=None)[0]
        np.testing.assert_allclose(found[cell], expected, atol=1e-10)


def test_waves_are_nearer_than_by_the_cells_value(mesh):
    grid, to_grid = pair(mesh)
    length = np.ptp(mesh.points[:, 0])
    places, fluid = grid.coordinates(np.arange(grid.n_points)), grid.fluid_points
    wave = [np.sin(np.pi * of[:, 0] / length) for of in (mesh.centroids, places)]
    plain = interpolation(mesh, "cell", grid, COMM).to_grid
    errors = [np.sqrt(np.mean((multiply(p, wave[0]) - wave[1])[fluid] ** 2)) for p in (plain, to_grid)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("shake", [0.0, 0.2])
def test_a_mesh_in_pieces_gives_what_the_whole_one_gives(shake):
    mesh, pieces, place = whole_and_in_pieces(shake)
    values = np.random.default_rng(6).standard_normal(mesh.n_cells)
    of_pieces = np.empty_like(values)
    of_pieces[place] = values
    one, other = (multiply(pair(of)[1], x) for of, x in ((mesh, values), (pieces, of_pieces)))
    np.testing.assert_allclose(other, one, atol=1e-11)


def test_a_passage_of_one_cell_has_no_slope_across_and_nothing_is_seen_through_walls():
    cell = np.arange(12).reshape(4, 3, 1)
    cell[:, 1] = -1  # a wall between two passages
    kept = np.unique(cell[cell >= 0])
    part = lattice(np.where(cell < 0, -1, np.searchsorted(kept, cell)), 10.0)
    mesh = join_polyhedra([(0, part)], 1, COMM)
    left = mesh.centroids[:, 1] < 15.0
    values = np.where(left, mesh.centroids[:, 0], 1e6)
    slopes = np.column_stack([multiply(gradient, values) for gradient in gradients(mesh, COMM)])
    np.testing.assert_allclose(slopes, np.where(left[:, None], [1.0, 0.0, 0.0], 0.0), atol=1e-9)
