"""Correlations that depend on distance, each a positive definite function in up to three dimensions."""

import numpy as np


def exponential(distance: np.ndarray) -> np.ndarray:
    """exp(−r), not smooth at zero: errors differ already between near neighbours."""
    return np.exp(-distance)


def soar(distance: np.ndarray) -> np.ndarray:
    """(1 + r) exp(−r), the second-order auto-regressive function: smooth at zero (Daley 1991, §4.3)."""
    return (1.0 + distance) * np.exp(-distance)


def gaspari_cohn(distance: np.ndarray) -> np.ndarray:
    """Piecewise rational of fifth order, near a Gaussian, zero from r = 2 on (Gaspari & Cohn 1999, eq. 4.10)."""
    r = np.asarray(distance, dtype=np.float64)
    result = np.zeros(r.shape)
    near, far = r <= 1.0, (r > 1.0) & (r < 2.0)  # mostly, most places are farther apart, which costs nothing
    x = r[near]
    result[near] = 1.0 + x**2 * (-5.0 / 3.0 + x * (5.0 / 8.0 + x * (0.5 - 0.25 * x)))
    x = r[far]
    result[far] = 4.0 + x * (-5.0 + x * (5.0 / 3.0 + x * (5.0 / 8.0 + x * (-0.5 + x / 12.0)))) - 2.0 / (3.0 * x)
    return result


CORRELATIONS = {"exponential": exponential, "soar": soar, "gaspari-cohn": gaspari_cohn}


def correlation_matrix(position: np.ndarray, length: float, kind: str = "soar", nugget: float = 0.0) -> np.ndarray:
    """Correlations between places.

    Parameters
    ----------
    position : (m, 3) [m]
    length : distance [m] that counts as r = 1; Gaspari & Cohn's function ends at two lengths
    kind : "exponential", "soar" or "gaspari-cohn"
    nugget : part of the variance, in [0, 1), that is not correlated with any other observation

    Returns
    -------
    (m, m), ones on the diagonal

    Raises
    ------
    ValueError
        if the length is not positive, the nugget not in [0, 1), or the kind unknown
    """
    if kind not in CORRELATIONS:
        raise ValueError(f"correlation {kind!r}, expected one of {', '.join(CORRELATIONS)}")
    if not (np.isfinite(length) and length > 0.0):
        raise ValueError(f"correlation length {length!r}, expected a positive number of metres")
    if not 0.0 <= nugget < 1.0:
        raise ValueError(f"nugget {nugget!r}, expected a part of the variance in [0, 1)")
    position = np.asarray(position, dtype=np.float64).reshape(-1, 3)
    distance = np.linalg.norm(position[:, None] - position[None], axis=2)
    matrix = (1.0 - nugget) * CORRELATIONS[kind](distance / length)
    np.fill_diagonal(matrix, 1.0)
    return matrix
