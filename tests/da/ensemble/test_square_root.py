"""Inverse square roots beside those by eigenvectors."""

import numpy as np
import pytest

from da.ensemble.square_root import inverse_roots, transform_of

MEMBERS = 24


def anomalies(scale, k=5, m=30):
    drawn = np.random.default_rng(3).normal(size=(k, m, MEMBERS)) * scale
    return drawn - drawn.mean(axis=2, keepdims=True)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 10.0, 1e2])
def test_products_give_the_roots_of_eigenvectors(scale):
    s = anomalies(scale)
    a = np.eye(MEMBERS) + np.swapaxes(s, 1, 2) @ s
    largest = 1.0 + np.linalg.norm(a - np.eye(MEMBERS), axis=(1, 2)).max()
    values, vectors = np.linalg.eigh(a)
    expected = (vectors / np.sqrt(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    found = inverse_roots(a, largest)
    rounding = MEMBERS * np.finfo(float).eps * largest
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=0, atol=rounding)


@pytest.mark.parametrize("m", [0, 1, 10, 40])
def test_singular_values_give_both_weights(m):
    s, d = anomalies(1.0, 3, m), np.random.default_rng(4).normal(size=(3, m))
    a = np.eye(MEMBERS) + np.swapaxes(s, 1, 2) @ s
    mean, root, _ = transform_of(s, d)
    np.testing.assert_allclose(a @ mean[:, :, None], (np.swapaxes(s, 1, 2) @ d[:, :, None]), rtol=0, atol=1e-11)
    np.testing.assert_allclose(root @ a @ root, np.broadcast_to(np.eye(MEMBERS), a.shape), rtol=0, atol=1e-11)


def test_of_exact_readings_the_rest_keeps_its_digits():
    """A² of eigenvectors would have lost them: the largest eigenvalue is 1e20 times the smallest."""
    direction = anomalies(1.0, 1, 1)[0, 0]
    direction /= np.linalg.norm(direction)
    mean, root, _ = transform_of(1e10 * direction[None], np.array([2e10]))
    np.testing.assert_allclose(mean, 2.0 * direction, rtol=1e-12)
    rest = np.eye(MEMBERS) - np.outer(direction, direction)
    np.testing.assert_allclose(root, rest, rtol=0, atol=1e-9)


def test_of_eigenvalues_of_one_the_root_is_the_identity():
    a = np.broadcast_to(np.eye(MEMBERS), (2, MEMBERS, MEMBERS))
    np.testing.assert_allclose(inverse_roots(a, 1.0), a, rtol=0, atol=1e-15)
