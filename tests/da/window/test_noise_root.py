"""The root of a noise covariance: its square is the covariance, and what is no covariance is refused."""

import numpy as np
import pytest
from mpi4py import MPI

from da.window.dynamics import noise_root

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_its_square_is_the_covariance(rank):
    factor = np.random.default_rng(rank).normal(size=(5, rank))
    covariance = 1e-6 * factor @ factor.T
    root = noise_root(covariance, COMM)
    assert root.shape == (5, rank)
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-13 * np.abs(covariance).max())


@pytest.mark.parametrize(
    ("covariance", "text"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\), expected a square"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "finite"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "not symmetric"),
        (np.diag([1.0, -0.5]), "eigenvalue of -0.5"),
        (np.zeros((2, 2)), "is zero"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, text):
    with pytest.raises(ValueError, match=text):
        noise_root(covariance, COMM)
