"""Samples near a curved surface of few dimensions, for the tests of training."""

import numpy as np

from models import zoo

SHAPE, N_VALIDATION = (17, 5, 4), 8
MASK = np.ones(SHAPE, bool)
MASK[3:6, 1:3, :2] = False


def make_samples(count=40, channels=2, seed=0):
    """(count, channels, 17, 5, 4) float32, about of unit variance, zero in solid points."""
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((3, channels, *SHAPE))
    amplitudes = rng.standard_normal((count, 3))
    samples = np.einsum("sk,k...->s...", amplitudes, patterns)
    return np.where(MASK, np.tanh(samples), 0.0).astype(np.float32)


def make_network(name="Backbone", **options):
    return zoo.make(name, 2, SHAPE, mask=MASK, **{"width": 4, "n_latent": 8, **options})
