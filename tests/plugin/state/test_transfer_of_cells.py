"""States in cells of polyhedra on the points of an analysis, a grid or the cells themselves, and H of readings."""

import numpy as np
import pytest
from mpi4py import MPI
from polyhedra import street_in_pieces

from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, multiply
from coupling.geometry.mesh import Field, State
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
