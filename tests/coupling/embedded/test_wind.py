"""The mass-consistent wind: free of divergence, along the walls, and the nearest such field."""

import numpy as np
import pytest
from box_mesh import box_space

from coupling.common.files import FileError
from coupling.embedded.wind import Walls, make_wind

STREET = Walls((4, 5), {4: (2,), 5: (0, 1, 2)})


def profile(points):
    speed = np.log(1 + points[:, 2] / 0.5)
    return np.column_stack([speed, 0.3 * speed, np.zeros(len(points))])


@pytest.fixture
def wind(street):
    mesh, space = street
    return make_wind(space, mesh.facets, mesh.facet_ids, STREET)


def weak_divergence(wind, velocity):
    residual = wind.divergence @ velocity.T.ravel()
    residual[wind.fixed] = 0
    return np.abs(residual).max()


def test_no_weak_divergence_is_left(street, wind):
    guess = profile(street[0].points)
    velocity, reason = wind.project(guess)
    assert reason > 0
    assert weak_divergence(wind, velocity) < 1e-9 * weak_divergence(wind, wind._along(guess))


def test_nothing_flows_through_walls_ground_and_sky(street, wind):
    mesh, _ = street
    velocity, _ = wind.project(profile(mesh.points))
    closed = np.isin(mesh.facet_ids, STREET.ids)
    corners = mesh.points[mesh.facets[closed]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    across = np.einsum("fkd,fd->fk", velocity[mesh.facets[closed]], normals)
    assert np.abs(across).max() < 1e-12 * np.abs(velocity).max()
    assert np.abs(velocity).max() > 1


def test_a_wind_that_is_allowed_stays_as_it_is(street, wind):
    velocity, _ = wind.project(profile(street[0].points))
    again, _ = wind.project(velocity)
    assert np.abs(again - velocity).max() < 1e-9 * np.abs(velocity).max()


def test_the_correction_is_orthogonal_to_every_allowed_wind(street, wind):
    mesh, space = street
    guess = profile(mesh.points)
    velocity, _ = wind.project(guess)
    other, _ = wind.project(np.random.default_rng(0).normal(size=guess.shape))
    inner = (space.mass[:, None] * (velocity - guess) * other).sum()
    assert abs(inner) < 1e-9 * space.mass.sum() * np.abs(velocity - guess).max() * np.abs(other).max()


def test_the_projection_is_linear(street, wind):
    guess = profile(street[0].points)
    one, _ = wind.project(guess)
    two, _ = wind.project(-2.5 * guess)
    np.testing.assert_allclose(two, -2.5 * one, atol=1e-9)


def test_uniform_wind_blows_unchanged_through_an_empty_box():
    space, facets, ids = box_space((5, 4, 3), (50, 40, 30), shake=0.2)
    wind = make_wind(space, facets, ids, Walls((5, 6), {5: (0, 1, 2), 6: (2,)}))
    guess = np.tile([3.0, -1.0, 0.0], (space.n_nodes, 1))
    velocity, reason = wind.project(guess)
    assert reason > 0
    np.testing.assert_allclose(velocity, guess, atol=1e-10)


def test_a_shear_flow_without_divergence_stays():
    space, facets, ids = box_space((4, 4, 6), (40, 40, 30))
    wind = make_wind(space, facets, ids, Walls((5, 6), {5: (0, 1, 2), 6: (0, 1, 2)}))
    guess = np.column_stack([space.points[:, 2] ** 2, 0 * space.points[:, 2], 0 * space.points[:, 2]])
    velocity, _ = wind.project(guess)
    np.testing.assert_allclose(velocity, guess, atol=1e-8)


def test_a_condition_that_does_not_stop_the_flow_is_refused():
    space, facets, ids = box_space((2, 2, 2))
    with pytest.raises(FileError, match="surface 6: .* does not stop the flow across it"):
        make_wind(space, facets, ids, Walls((6,), {6: (0,)}))


def test_a_box_without_an_opening_is_refused():
    space, facets, ids = box_space((2, 2, 2))
    every = tuple(range(1, 7))
    with pytest.raises(FileError, match="no boundary is open"):
        make_wind(space, facets, ids, Walls(every, {k: (0, 1, 2) for k in every}))


def test_factors_and_multigrid_give_the_same_wind(street, wind, monkeypatch):
    mesh, space = street
    monkeypatch.setattr("coupling.embedded.wind._FACTORED", 0)
    by_multigrid = make_wind(space, mesh.facets, mesh.facet_ids, STREET)
    assert by_multigrid.solver.getPC().getType() == "gamg"
    one, other = (of.project(profile(mesh.points))[0] for of in (wind, by_multigrid))
    np.testing.assert_allclose(one, other, atol=1e-10 * np.abs(one).max())
