"""Inverse square roots in the space of the members: what the ensemble transform Kalman filter multiplies anomalies by.

With S = R^{-1/2} Y / √(N − 1) of M readings, A = I + SᵀS has eigenvalues from one on. The symmetric A^{-1/2} keeps the
anomalies' sum zero, is the root nearest to I, and changes smoothly from place to place (Wang, Bishop & Julier 2004,
Which is better, an ensemble of positive–negative pairs or a centered spherical simplex ensemble?).
"""

import numpy as np

_NEAR = 1e-8  # from here one more step of Newton–Schulz gives all digits
_CACHED = 1 << 14  # values of matrices that are iterated on together: with their copies they stay in the cache


def transform_of(anomalies: np.ndarray, innovation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of the mean and of the anomalies, by singular values: exact also where readings are, too.

    Parameters
    ----------
    anomalies : (…, M, N) S, whitened and divided by √(N − 1)
    innovation : (…, M) whitened

    Returns
    -------
    (…, N) A⁻¹ Sᵀ d, (…, N, N) A^{-1/2}, and (…, min(M, N)) singular values of S
    """
    left, singular, right = np.linalg.svd(anomalies, full_matrices=False)
    along = np.einsum("...mk,...m->...k", left, innovation)
    mean = np.einsum("...kn,...k->...n", right, singular / (1.0 + singular**2) * along)
    shrunk = 1.0 / np.sqrt(1.0 + singular**2) - 1.0
    root = np.swapaxes(right, -1, -2) @ (shrunk[..., None] * right)
    diagonal = np.arange(anomalies.shape[-1])
    root[..., diagonal, diagonal] += 1.0
    return mean, root, singular


def inverse_roots(matrices: np.ndarray, largest: float) -> np.ndarray:
    """A^{-1/2} of many small symmetric matrices at once, by matrix products alone.

    Scaled Newton–Schulz iterations (Chen & Chow 2014, A stable scaling of Newton–Schulz for improving the sign function
    computation of a Hermitian matrix), coupled (Higham 1986, Newton's method for the matrix square root): some seven of
    them, each three products, take a third of the time of LAPACK's eigenvectors, and rounding is no larger.

    Parameters
    ----------
    matrices : (k, N, N) with eigenvalues from one on
    largest : a bound of them all, up to some 1e6; the relative error is about 1e-17 times it

    Returns
    -------
    (k, N, N)
    """
    scale, shifts = _shifts(1.0 / np.sqrt(largest))
    roots = np.empty_like(matrices)
    together = max(1, _CACHED // matrices.shape[-1] ** 2)
    for first in range(0, len(matrices), together):
        some = slice(first, first + together)
        found = _iterated(matrices[some] * (-(scale**2) / largest), shifts)
        np.multiply(found, scale / np.sqrt(largest), out=roots[some])
    return roots


def _iterated(y: np.ndarray, shifts: list[float]) -> np.ndarray:
    """What z = I becomes by z ← (shift + z y) z and y ← y (shift + z y), y being negative: (k, N, N), overwritten."""
    diagonal = np.arange(y.shape[-1])
    z = y.copy()
    z[:, diagonal, diagonal] += shifts[0]
    factor, product, spare = z, np.empty_like(y), np.empty_like(y)
    for shift in shifts[1:]:
        np.matmul(y, factor, out=spare)
        y, spare = spare, y
        factor = product
        np.matmul(z, y, out=factor)
        factor[:, diagonal, diagonal] += shift
        np.matmul(factor, z, out=spare)
        z, spare = spare, z
    return z


def _shifts(smallest: float) -> tuple[float, list[float]]:
    """Steps x → x (shift − x²) that bring [smallest, 1] times a scale to one: the scale, and a shift for each.

    Chen and Chow's steps are x → α x (3 − α² x²)/2, the last with α = 1. With x in units that change from step to step
    the factor of x² is one, which saves a pass over the matrices each.
    """
    scalings = []
    while 1.0 - smallest > _NEAR:
        scalings.append(float(np.sqrt(3.0 / (1.0 + smallest + smallest**2))))
        smallest *= 0.5 * scalings[-1] * (3.0 - (scalings[-1] * smallest) ** 2)
    shifts, scale = [], 1.0
    for alpha in [1.0, *scalings[::-1]]:
        before = float(np.cbrt(0.5 * scale)) * alpha
        shifts.append(1.5 * alpha * scale / before)
        scale = before
    return scale, shifts[::-1]
