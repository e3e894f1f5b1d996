"""Eigenpairs of covariances, without the directions that are only rounding."""

import numpy as np
from scipy.linalg import eigh

ROUNDING = 1e-12  # part of the largest eigenvalue that counts as zero


def positive_eigenpairs(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k,) eigenvalues of a symmetric matrix that are clearly above zero, falling, and their (m, k) vectors."""
    values, vectors = eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > ROUNDING * max(values[0], 0.0)
    return values[kept], vectors[:, kept]
