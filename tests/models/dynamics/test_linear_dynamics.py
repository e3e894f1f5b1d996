"""The linear inverse model: what made the codes is found again, with its noise; bad input is refused."""

import numpy as np
import pytest

from models.dynamics.linear import linear_dynamics

TRUE = np.array([[0.9, -0.2], [0.1, 0.7]])


def test_a_linear_model_without_noise_is_found():
    rng = np.random.default_rng(0)
    before, centre = rng.standard_normal((2, 40)), np.array([[3.0], [-1.0]])
    # the fixed point of the map is the mean of both, as the model has it
    before = np.concatenate([before, -before], axis=1)
    found = linear_dynamics(centre + before, centre + TRUE @ before)
    np.testing.assert_allclose(found.matrix, TRUE, atol=1e-12)
    np.testing.assert_allclose(found.centre, centre[:, 0], atol=1e-12)
    np.testing.assert_allclose(found.noise, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.step(centre + before), centre + TRUE @ before, atol=1e-12)
    np.testing.assert_allclose(found.step(centre[:, 0] + before[:, 0]), centre[:, 0] + TRUE @ before[:, 0], atol=1e-12)


def test_tangent_and_adjoint_are_those_of_a_step():
    rng = np.random.default_rng(5)
    found = linear_dynamics(*rng.standard_normal((2, 4, 30)))
    z, p, q = rng.standard_normal((3, 4))
    np.testing.assert_allclose(found.tangent(p, at=z), found.step(z + p) - found.step(z), atol=1e-12)
    assert found.tangent(p, at=z) @ q == pytest.approx(p @ found.adjoint(q, at=z), rel=1e-12)


def test_the_noise_covariance_is_found():
    rng = np.random.default_rng(1)
    root = np.array([[0.5, 0.0], [0.2, 0.3]])
    codes = np.zeros((2, 40_001))
    for k in range(40_000):
        codes[:, k + 1] = TRUE @ codes[:, k] + root @ rng.standard_normal(2)
    found = linear_dynamics(codes[:, :-1], codes[:, 1:])
    np.testing.assert_allclose(found.matrix, TRUE, atol=0.03)
    np.testing.assert_allclose(found.noise, root @ root.T, atol=0.01)


def test_a_ridge_is_the_least_squares_problem_with_it():
    rng = np.random.default_rng(2)
    before, after = rng.standard_normal((2, 5, 30))
    found = linear_dynamics(before, after, 0.3)
    early, late = before - found.centre[:, None], after - found.centre[:, None]
    weight = np.sqrt(0.3 * np.sum(early**2) / 5)
    left, right = np.vstack([early.T, weight * np.eye(5)]), np.vstack([late.T, np.zeros((5, 5))])
    np.testing.assert_allclose(found.matrix, np.linalg.lstsq(left, right, rcond=None)[0].T, atol=1e-10)


@pytest.mark.parametrize(
    ("shapes", "ridge", "text"),
    [
        (((3, 5), (3, 4)), 0.0, "of shapes"),
        (((3, 1), (3, 1)), 0.0, "pairs ≥ 2"),
        (((3, 5), (3, 5)), -1.0, "ridge -1.0"),
        (((3, 5), (3, 5)), np.nan, "ridge nan"),
    ],
)
def test_bad_input_is_refused(shapes, ridge, text):
    before, after = (np.random.default_rng(3).standard_normal(shape) for shape in shapes)
    with pytest.raises(ValueError, match=text):
        linear_dynamics(before, after, ridge)


def test_codes_that_need_a_ridge_are_refused_without():
    with pytest.raises(ValueError, match="give a ridge"):
        linear_dynamics(np.zeros((2, 4)), np.zeros((2, 4)))
