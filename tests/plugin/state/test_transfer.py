"""Variables of a case, and H: what the sensors see of an increment is what the mesh gets."""

import numpy as np
import pytest
from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, multiply
from coupling.geometry.mesh import MeshError, State
from plugin.state.transfer import Transfer, variables_of

COMM = MPI.COMM_SELF
PLACES = np.array([[20.0, 20, 10], [130, 155, 10], [300, 200, 80], [170, 100, 2], [225, 155, 61]])
NAMES = np.array(["Tracer", "Tracer", "Velocity.y", "P0Tracer", "DGTracer"])


@pytest.fixture(params=["serial", "parallel"])
def state(request, fluidity_data):
    return read_fields(open_restart(fluidity_data / request.param / "mini_3_checkpoint.flml"), COMM)


@pytest.fixture
def transfer(state):
    mesh = state["Tracer"].mesh
    grid = make_grid(mesh.bounds(COMM), shape=(24, 17, 9))
    grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
    return Transfer(grid, variables_of(["Velocity.y", "Tracer", "P0Tracer", "DGTracer"], state), COMM)


def test_vectors_are_spelled_out(state):
    names = [v.name for v in variables_of(["Tracer", "Velocity"], state)]
    assert names == ["Tracer", "Velocity.x", "Velocity.y", "Velocity.z"]


@pytest.mark.parametrize("wrong", [["Tracer.x"], ["Velocity.w"], ["Nothing"], ["Velocity", "Velocity.x"]])
def test_a_variable_the_model_lacks_is_refused(state, wrong):
    with pytest.raises(MeshError):
        variables_of(wrong, state)


def test_the_grid_state_keeps_the_order_of_variables(state, transfer):
    on_grid = transfer.to_grid(state).reshape(-1, 4)
    for column, (name, values) in enumerate(
        [("Velocity", state["Velocity"].values[:, 1])]
        + [(n, state[n].values) for n in ("Tracer", "P0Tracer", "DGTracer")]
    ):
        expected = multiply(transfer.interpolation(state[name]).to_grid, values)
        np.testing.assert_array_equal(on_grid[:, column], expected)


def test_h_sees_the_increment_that_the_mesh_gets(state, transfer):
    increment = np.random.default_rng(6).standard_normal(transfer.n_local)
    before = transfer.at_readings(state, PLACES, NAMES)
    added = transfer.to_mesh(state, increment)
    after = State(state.time, {n: f.replaced(f.values + added.get(n, 0.0)) for n, f in state.fields.items()})
    seen = transfer.at_readings(after, PLACES, NAMES).background - before.background
    np.testing.assert_allclose(multiply(before.operator, increment), seen, atol=1e-10)


def test_readings_inside_buildings_have_no_row(state, transfer):
    at_readings = transfer.at_readings(state, PLACES, NAMES)
    assert at_readings.inside.tolist() == [True, False, True, True, True]
    assert sorted(at_readings.reading) == [0, 2, 3, 4]


def test_components_that_are_not_analysed_get_no_increment(state, transfer):
    added = transfer.to_mesh(state, np.ones(transfer.n_local))
    assert (added["Velocity"][:, [0, 2]] == 0).all()
    np.testing.assert_allclose(added["Velocity"][:, 1], 1.0, atol=1e-12)


def test_readings_of_something_else_are_refused(state, transfer):
    with pytest.raises(MeshError, match="readings of 'Salt', which is not analysed"):
        transfer.at_readings(state, PLACES, np.array(["Salt"] * 5))
