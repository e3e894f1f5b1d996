"""States in cells of polyhedra on the points of an analysis, a grid or the cells themselves, and H of readings."""

from dataclasses import replace

import numpy as np
import pytest
from contents import small_mesh as tetrahedra
from mpi4py import MPI
from polyhedra import street_in_pieces

from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, multiply
from coupling.geometry.mesh import Field, MeshError, State
from coupling.geometry.points import mesh_points
from plugin.state.transfer import Transfer, variables_of

COMM = MPI.COMM_SELF
PLACES = np.array(
    [[5.3, 12.1, 3.0], [41.0, 31.0, 11.0], [71.7, 44.2, 33.3], [-1.0, 5.0, 5.0]]
)  # street, house, air, none
NAMES = np.array(["T", "T", "U.y", "T"])


@pytest.fixture
def state():
    mesh = street_in_pieces(COMM)
    wave = np.sin(mesh.centroids / 20.0)
    return State(3.0, {"T": Field("T", mesh, wave.sum(axis=1), "cell"), "U": Field("U", mesh, wave, "cell")})


@pytest.fixture(params=["grid", "mesh"])
def transfer(request, state):
    mesh = state["T"].mesh
    grid = make_grid(mesh.bounds(COMM), shape=(11, 9, 8))
    points = mesh_points(mesh, COMM) if request.param == "mesh" else grid.with_fluid(fluid_points(grid, mesh, COMM))
    return Transfer(points, variables_of(["U.y", "T"], state), COMM)


def test_points_have_the_values_of_their_cells(state, transfer):
    of_points = transfer.to_grid(state).reshape(-1, 2)[transfer.fluid]
    of_cells = np.column_stack([state["U"].values[:, 1], state["T"].values])
    distance = np.linalg.norm(of_points[:, None] - of_cells, axis=2)
    assert distance.min(axis=1).max() == 0.0 and len(np.unique(distance.argmin(axis=1))) > 100


def test_h_is_the_cells_value_and_sees_the_increment_that_the_cells_get(state, transfer):
    increment = np.random.default_rng(6).standard_normal(transfer.n_local)
    before = transfer.at_readings(state, PLACES, NAMES)
    assert before.inside.tolist() == [True, False, True, False]
    centres = state["T"].mesh.centroids
    nearest = [np.linalg.norm(centres - place, axis=1).argmin() for place in PLACES[before.inside]]
    expected = [state["T"].values[nearest[0]], state["U"].values[nearest[1], 1]]
    np.testing.assert_array_equal(before.background[np.argsort(before.reading)], expected)
    changed = {**state.fields, **transfer.added(state, increment)}
    seen = transfer.at_readings(State(state.time, changed), PLACES, NAMES).background - before.background
    np.testing.assert_allclose(multiply(before.operator, increment), seen, atol=1e-12)


def test_at_the_cells_themselves_nothing_is_lost(state):
    mesh = state["T"].mesh
    transfer = Transfer(mesh_points(mesh, COMM), variables_of(["T", "U"], state), COMM)
    increment = np.random.default_rng(7).standard_normal((mesh.n_cells, 4))
    on_mesh = transfer.to_mesh(state, increment.ravel())
    np.testing.assert_array_equal(np.column_stack([on_mesh["T"], on_mesh["U"]]), increment)


def test_linear_reconstruction_follows_slopes_on_the_grid_and_leaves_h_and_q(state):
    mesh = state["T"].mesh
    grid = make_grid(mesh.bounds(COMM), shape=(11, 9, 8))
    grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
    sloping = State(0.0, {"T": Field("T", mesh, mesh.centroids @ [0.3, -1.2, 2.0], "cell")})
    plain, linear = (
        Transfer(replace(grid, reconstruction=of), variables_of(["T"], sloping), COMM) for of in ("constant", "linear")
    )
    expected = grid.coordinates(np.arange(grid.n_points)) @ [0.3, -1.2, 2.0]
    fluid = grid.fluid_points
    np.testing.assert_allclose(linear.to_grid(sloping)[fluid], expected[fluid], atol=1e-9)
    assert np.abs(plain.to_grid(sloping) - expected)[fluid].max() > 1.0
    increment = np.random.default_rng(8).standard_normal(grid.n_points)
    one, other = (of.to_mesh(sloping, increment)["T"] for of in (plain, linear))
    np.testing.assert_array_equal(one, other)
    one, other = (of.at_readings(sloping, PLACES, np.array(["T"] * 4)).background for of in (plain, linear))
    np.testing.assert_array_equal(one, other)
    assert plain.grid.description != linear.grid.description  # modes and networks of one are not the other's


def test_finite_elements_have_no_linear_reconstruction():
    mesh = tetrahedra()
    state = State(0.0, {"T": Field("T", mesh, np.zeros(mesh.n_nodes))})
    grid = replace(make_grid(mesh.bounds(COMM), shape=(3, 3, 3)), reconstruction="linear")
    with pytest.raises(
        MeshError, match="grid.reconstruction: linear is for .* polyhedra, and this mesh has tetrahedra"
    ):
        Transfer(grid, variables_of(["T"], state), COMM).to_grid(state)
