"""The model at the times of its readings."""

import numpy as np
import pytest
from mpi4py import MPI

from coupling.archive.series import open_series
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points
from coupling.geometry.mesh import MeshError
from da.observation.matrix_operator import MatrixOperator
from da.observation.observations import Observations
from plugin.state.fgat import first_guess, weights_in_time
from plugin.state.transfer import Transfer, values_at, variables_of

COMM = MPI.COMM_SELF
RNG = np.random.default_rng(4)
DUMPS = np.array([0.0, 1.0, 1.5, 4.0])


def test_interpolation_is_exact_for_what_is_linear_in_time():
    time = np.append(RNG.uniform(0.0, 4.0, 50), DUMPS)
    first, second, share, in_time = weights_in_time(time, DUMPS, "interpolate")
    np.testing.assert_allclose((1.0 - share) * DUMPS[first] + share * DUMPS[second], time, atol=1e-14)
    assert in_time.all() and (share >= 0.0).all() and (share <= 1.0).all()


def test_nearest_is_nearest():
    time = RNG.uniform(-0.5, 4.5, 100)
    first, second, share, _ = weights_in_time(time, DUMPS, "nearest", tolerance=1.0)
    assert np.array_equal(first, second) and (share == 1.0).all()
    np.testing.assert_allclose(np.abs(time - DUMPS[first]), np.abs(time[:, None] - DUMPS).min(axis=1))
    assert weights_in_time([0.5], DUMPS, "nearest")[0].tolist() == [1]


@pytest.mark.parametrize("mode", ["nearest", "interpolate"])
def test_readings_outside_the_dumps(mode):
    time = [-0.2, -0.05, 4.05, 4.2]
    first, second, share, in_time = weights_in_time(time, DUMPS, mode, tolerance=0.1)
    assert in_time.tolist() == [False, True, True, False]
    held = (1.0 - share) * DUMPS[first] + share * DUMPS[second]
    assert held.tolist() == [0.0, 0.0, 4.0, 4.0]
    first, second, share, in_time = weights_in_time([2.0, 3.0], [2.0], mode)
    assert in_time.tolist() == [True, False] and first.tolist() == second.tolist() == [0, 0]


def test_bad_arguments():
    with pytest.raises(ValueError, match="window mode 'middle'"):
        weights_in_time([0.0], DUMPS, "middle")
    with pytest.raises(ValueError, match="no dump"):
        weights_in_time([0.0], [], "nearest")


@pytest.fixture(params=["serial", "parallel", "adaptive"])
def series(request, fluidity_data):
    with open_series(fluidity_data / request.param, COMM) as found:
        yield found


@pytest.fixture
def transfer(series):
    state = series.read(0)
    mesh = state["Tracer"].mesh
    grid = make_grid(mesh.bounds(COMM), shape=(9, 7, 5))
    grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
    return Transfer(grid, variables_of(["Tracer", "Velocity.x"], state), COMM)


def _readings(series, n=40):
    time = np.concatenate([RNG.uniform(series.times[0], series.times[-1], n - 2), series.times[:1], series.times[-1:]])
    position = RNG.uniform([0, 0, 0], [300, 200, 80], (n, 3))
    variable = np.array(["Tracer", "Velocity.x", "Velocity.speed"])[RNG.integers(3, size=n)]
    return Observations(time, position, variable, np.zeros(n), np.ones(n))


@pytest.mark.parametrize("mode", ["nearest", "interpolate"])
def test_equals_reading_after_reading(series, transfer, mode):
    readings = _readings(series)
    found = first_guess(series, transfer, readings, mode)
    assert found.in_time.all() and 0 < found.inside.sum() < len(readings)
    states = [series.read(k) for k in range(len(series))]
    for i in range(len(readings)):
        one = readings.select([i])
        seen, inside = zip(*(values_at(s, transfer, one.position, one.variable) for s in states), strict=True)
        seen, inside = np.ravel(seen), np.ravel(inside)
        near = int(np.argmin(np.abs(series.times - one.time)))
        if mode == "nearest":
            expected, needed = seen[near], inside[near]
        else:
            expected = np.interp(one.time[0], series.times, seen)
            k = np.clip(np.searchsorted(series.times, one.time[0]), 1, len(states) - 1)
            needed = inside[k - 1 : k + 1].all() if one.time[0] not in series.times else inside[near]
        assert found.inside[i] == needed
        assert np.isnan(found.value[i]) if not needed else found.value[i] == pytest.approx(expected, abs=1e-12)


def test_at_the_last_dump_it_is_what_h_sees(series, transfer):
    readings = _readings(series)
    readings = readings.select(readings.variable != "Velocity.speed")
    last = Observations(
        np.full(len(readings), series.times[-1]),
        *[getattr(readings, name) for name in ("position", "variable", "value", "error")],
    )
    found = first_guess(series, transfer, last, "interpolate")
    at_readings = transfer.at_readings(series.read(-1), last.position, last.variable)
    assert np.array_equal(found.inside, at_readings.inside)
    np.testing.assert_allclose(found.value[at_readings.reading], at_readings.background, atol=1e-13)


def test_a_reading_between_no_dumps(series, transfer):
    late = Observations(series.times[-1:] + 10.0, [[20.0, 20, 10]], ["Tracer"], [0.0], [1.0])
    found = first_guess(series, transfer, late, "nearest")
    assert found.in_time.tolist() == [False] and np.isnan(found.value[0])


def test_speeds_have_a_row_for_each_component(series, transfer):
    state = series.read(-1)
    places = np.array([[20.0, 20, 10], [300, 200, 80], [25.0, 30, 10]])
    at_readings = transfer.at_readings(state, places, np.array(["Velocity.speed"] * 3))
    assert np.bincount(at_readings.reading, minlength=3).tolist() == [3 * i for i in at_readings.inside]
    wind = at_readings.background.reshape(3, -1)
    speed, inside = values_at(state, transfer, places, np.array(["Velocity.speed"] * 3))
    np.testing.assert_allclose(np.linalg.norm(wind, axis=0), speed[inside], atol=1e-6)
    # only x is analysed
    seen = MatrixOperator(at_readings.operator).observe(np.ones(transfer.n_local)).reshape(3, -1)
    np.testing.assert_allclose(seen[0], 1.0)
    assert not seen[1:].any()


def test_other_names_are_refused(series, transfer):
    with pytest.raises(MeshError, match="readings of 'Tracer.speed'"):
        values_at(series.read(0), transfer, np.zeros((1, 3)), np.array(["Tracer.speed"]))
