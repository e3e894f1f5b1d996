"""Modes of a covariance that falls with distance, against the dense covariance; a network that begins at them."""

import numpy as np
import pytest
import torch
from mpi4py import MPI
from training_problem import MASK, N_VALIDATION, make_network, make_samples

from models.training.linear_start import begun
from models.training.loop import train
from models.training.recipe import Recipe
from models.training.windowed_modes import Windows, windowed_modes

SAMPLES = make_samples(40)
SHAPE = SAMPLES.shape[2:]
WINDOWS = Windows((4, 3.5, None), 0.5)


def dense(values, windows):
    """B, point by point: the sample's covariance times α² + Π Σ_j w_j(a) w_j(b) over the axes."""

    def along(n, half):
        if half is None:
            return np.ones((n, n))
        number, taper = np.arange(n), np.zeros((n, n))
        for centre in np.arange(-half, n + half, half):
            apart = (number - centre) / half
            of = np.where(np.abs(apart) < 1.0, np.cos(0.5 * np.pi * apart), 0.0)
            taper += np.outer(of, of)
        return taper

    x, y, z = (along(n, half) for n, half in zip(values.shape[2:], windows.points, strict=True))
    taper = np.kron(np.kron(x, y), z) + windows.whole**2
    rows = values.reshape(len(values), -1).astype(np.float64)
    return rows.T @ rows * np.tile(taper, (values.shape[1], values.shape[1]))


@pytest.mark.parametrize("whole", [0.0, 0.5])
def test_modes_are_the_leading_eigenvectors_of_the_dense_covariance(whole):
    windows = Windows(WINDOWS.points, whole)
    modes = windowed_modes(SAMPLES, 12, windows, small=0.0).astype(np.float64)
    covariance = dense(SAMPLES, windows)
    variances, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(modes.T @ modes, np.eye(12), atol=1e-4)
    np.testing.assert_allclose(modes.T @ covariance @ modes, np.diag(variances[::-1][:12]), atol=1e-4 * variances[-1])
    # the variance at a point is α² + 1 of the sample's
    size = np.square(SAMPLES.reshape(40, -1)).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(np.diag(covariance), (1.0 + whole**2) * size, rtol=1e-6)
    leading = vectors[:, ::-1][:, :12]
    apart = np.linalg.norm(modes @ modes.T - leading @ leading.T, 2)
    gap = (variances[-12] - variances[-13]) / variances[-1]
    assert apart < 1e-4 / gap


def test_components_of_small_variance_hardly_count():
    some, every = (windowed_modes(SAMPLES, 6, WINDOWS, small) for small in (0.01, 0.0))
    values = SAMPLES.reshape(40, -1)
    kept = [np.square(values @ of).sum() for of in (some, every)]
    assert kept[0] == pytest.approx(kept[1], rel=1e-2)


def test_one_window_has_the_principal_components():
    modes = windowed_modes(SAMPLES, 5, Windows((None, None, None)))
    vectors = np.linalg.svd(SAMPLES.reshape(40, -1), full_matrices=False)[2][:5].T
    np.testing.assert_allclose(modes @ modes.T, vectors @ vectors.T, atol=1e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="50 modes, but 2 states have .* expected fewer"):
        windowed_modes(SAMPLES[:2], 50, WINDOWS)
    with pytest.raises(ValueError, match="expected 1 or more, and 0 or more"):
        Windows((0.5, 4, None))
    with pytest.raises(ValueError, match="windows beside blocks or an overlap"):
        make_network("PCA-UNet", n_latent=6, windows={"points": [4, 4, None], "whole": 0.5}, overlap=1)


@pytest.mark.parametrize("name", ["PCA-UNet", "PCA-Tucodec-NeXt"])
def test_a_network_begins_at_them_and_learns(name):
    options = {"n_latent": 6} if name == "PCA-UNet" else {}
    bare = make_network(name, windows={"points": [4, 4, None], "whole": 0.5}, **options)
    model, start = begun(bare, SAMPLES, N_VALIDATION, 4, 3, 0)
    modes = windowed_modes(SAMPLES[:-N_VALIDATION], model.n_latent, Windows((4, 4, None), 0.5))
    values = SAMPLES.reshape(40, -1)
    expected = torch.from_numpy(values @ modes @ modes.T).reshape(SAMPLES.shape)
    with torch.no_grad():
        trip = model.decode(model.encode(torch.from_numpy(SAMPLES)))
    torch.testing.assert_close(trip, expected * torch.from_numpy(MASK), atol=1e-3, rtol=1e-3)
    recipe = Recipe(epochs=1, batch=8, augmentation=None)
    trained = train(model, SAMPLES, N_VALIDATION, recipe, MPI.COMM_SELF, cross_fitted=start)
    assert np.isfinite(trained.loss)
