import numpy as np
import torch

from models import zoo
from models.gridding import InverseDistanceGridding
from models.voronoi import VoronoiGridding

SPACING = (2.0, 1.0, 3.0)
RNG = np.random.default_rng(1)
PART = RNG.random((2, 5, 4, 3)) < 0.8


def test_each_point_has_the_value_of_its_nearest_sensor():
    grid = VoronoiGridding(SPACING, PART)
    number = RNG.permutation(np.flatnonzero(PART[0]))[:6]
    position, values = grid.places[number] + 0.1, RNG.standard_normal((3, 7))
    layout = grid.weights(np.concatenate([position, [[0.0, 0.0, 0.0]]]), np.array([0] * 6 + [1]))
    fields = layout.to_grid(values)
    assert fields.shape == (3, 4, 5, 4, 3)
    nearest = np.linalg.norm(grid.places[:, None] - position[None], axis=2).argmin(axis=1)
    expected = np.where(PART[0].ravel(), values[:, nearest], 0.0)
    np.testing.assert_array_equal(fields[:, 0].reshape(3, -1), expected)
    np.testing.assert_array_equal(fields[:, 1], values[:, 6, None, None, None] * PART[1])
    assert set(np.flatnonzero(fields[0, 2])) == set(number) and fields[0, 3].sum() == 1.0


def test_a_variable_without_sensors_is_zero():
    fields = VoronoiGridding(SPACING, PART).weights(np.zeros((1, 3)), np.array([1])).to_grid([[2.0]])
    assert not fields[:, [0, 2]].any() and (fields[0, 1] == 2.0 * PART[1]).all()


def test_places_are_those_of_sensors_grids():
    np.testing.assert_array_equal(VoronoiGridding(SPACING, PART).places, InverseDistanceGridding(SPACING, PART).places)


def test_the_identity_leaves_fields_and_empties_solids():
    model = zoo.make("Identity", 2, (5, 4, 3), mask=PART[0])
    fields = torch.randn(3, 2, 5, 4, 3)
    assert model.n_latent == 120
    torch.testing.assert_close(model(fields), fields * torch.as_tensor(PART[0]))


def test_its_observation_encoder_is_a_regression_to_the_field():
    model = zoo.make("Identity", 1, (5, 4, 3), observations={"spacing": SPACING, "width": 4})
    spread = torch.randn(2, 2, 5, 4, 3)
    torch.testing.assert_close(model(spread), model.field(spread))
    assert any(p.requires_grad for p in model.parameters()) and not [p for p in model.given.parameters()]
