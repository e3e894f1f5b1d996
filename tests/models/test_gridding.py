import numpy as np
import pytest

from models.gridding import InverseDistanceGridding

SPACING, SHAPE = (10.0, 5.0, 4.0), (7, 6, 5)


def make_grid(channels=2):
    part = np.ones((channels, *SHAPE), bool)
    part[:, 2:4, 1:3, :2] = False
    return InverseDistanceGridding(SPACING, part)


def make_sensors(count=40, channels=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-5.0, [70.0, 30.0, 20.0], (count, 3)), rng.integers(0, channels, count)


def test_values_are_weighted_means_of_the_nearest():
    grid = make_grid()
    position, channel = make_sensors()
    values = np.random.default_rng(1).normal(size=(3, 40))
    found = grid.weights(position, channel).to_grid(values)
    assert found.shape == (3, 4, *SHAPE)
    size = np.mean(SPACING)
    for point, c in ((0, 0), (99, 1), (209, 0)):
        assert grid.part[c].ravel()[point]
        place = np.array(np.unravel_index(point, SHAPE)) * SPACING
        asked = np.flatnonzero(channel == c)
        distance = np.linalg.norm(position[asked] - place, axis=1)
        near = np.argsort(distance)[:8]
        weights = 1.0 / (distance[near] ** 2 + (size / 2) ** 2)
        expected = values[:, asked[near]] @ weights / weights.sum()
        np.testing.assert_allclose(found[:, c].reshape(3, -1)[:, point], expected, rtol=1e-12)
        nearness = found[:, 2 + c].reshape(3, -1)[:, point]
        np.testing.assert_allclose(nearness, np.exp(-distance.min() / (4 * size)))


def test_constants_stay_and_solid_points_are_zero():
    grid = make_grid()
    found = grid.weights(*make_sensors()).to_grid(np.full((1, 40), 2.5))
    np.testing.assert_allclose(found[0, :2][grid.part], 2.5)
    assert not found[0, :2][~grid.part].any() and not found[0, 2:][~grid.part].any()


def test_order_of_sensors_makes_no_difference():
    # on the grid's points, so that many are equally far
    rng = np.random.default_rng(3)
    grid = make_grid()
    position, channel = grid.places[rng.choice(210, 40)], rng.integers(0, 2, 40)
    values, order = rng.normal(size=(2, 40)), rng.permutation(40)
    one = grid.weights(position, channel).to_grid(values)
    other = grid.weights(position[order], channel[order]).to_grid(values[:, order])
    np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-14)


def test_readings_of_one_place_count_as_their_mean():
    position = np.array([[10.0, 10.0, 4.0], [40.0, 10.0, 4.0], [10.0, 10.0, 4.0]])
    twice = make_grid().weights(position, np.zeros(3, int)).to_grid([[1.0, 5.0, 3.0]])
    once = make_grid().weights(position[:2], np.zeros(2, int)).to_grid([[2.0, 5.0]])
    np.testing.assert_allclose(twice, once)


def test_a_variable_without_sensors_is_zero():
    grid = make_grid(3)
    position, channel = make_sensors(channels=2)
    found = grid.weights(position, channel).to_grid(np.ones((2, 40)))
    assert not found[:, 2].any() and not found[:, 5].any() and found[:, 0].any()
    assert not grid.weights(np.empty((0, 3)), np.empty(0, int)).to_grid(np.empty((2, 0))).any()


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_sensors_than_are_averaged(count):
    position, _ = make_sensors(count)
    found = make_grid(1).weights(position, np.zeros(count, int)).to_grid(np.full((1, count), -1.0))
    np.testing.assert_allclose(found[0, :1][make_grid(1).part], -1.0)
