"""Thinning and superobservations: one reading per cell of the grid, chosen or averaged.

Errors that sensors in a cell share, above all what the grid does not resolve, do not average out; a
dense cluster, taken for independent, would outweigh the background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Superobs:
    """Superobservations, averages of readings.

    number : (M,) the average that each reading is part of, 0 … K − 1 in the order of their first readings
    average : (K × M) sparse; `average @ d` are their innovations, `average @ H` is their operator
    error : (K,) standard deviations of the averages' errors
    """

    number: np.ndarray
    average: csr_matrix
    error: np.ndarray


def cells(
    position: np.ndarray,
    group: np.ndarray,
    spacing: float | Sequence[float] | np.ndarray,
    origin: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Number of the cell and group that each reading lies in.

    Parameters
    ----------
    position : (M, 3) [m]
    group : (M,) labels; readings of different groups share no cell: the variable, or variable and time
    spacing : (3,) size of the cells [m], the grid's resolution; origin : (3,) centre of one of them, a grid point

    Returns
    -------
    (M,) int, 0 … K − 1 in the order in which they first occur

    Raises
    ------
    ValueError
        if a spacing is not positive
    """
    spacing = np.broadcast_to(np.asarray(spacing, dtype=np.float64), 3)
    if not (spacing > 0.0).all():
        raise ValueError(f"cells of {spacing.tolist()} m, expected positive sizes")
    position = np.asarray(position, dtype=np.float64).reshape(-1, 3)
    place = np.floor((position - np.asarray(origin)) / spacing + 0.5)
    _, label = np.unique(np.asarray(group), return_inverse=True)
    return _by_occurrence(np.column_stack([label, place]))


def thinned(cell: np.ndarray, error: np.ndarray, distance: np.ndarray | None = None) -> np.ndarray:
    """Mark all readings of a cell but the most accurate; of equals the nearest to the centre, then the first.

    cell : (M,) as from `cells`; error : (M,) standard deviations; distance : (M,) from the cell's centre, or None

    Returns (M,) bool, true for what is left out.
    """
    cell = np.asarray(cell)
    far = np.zeros(len(cell)) if distance is None else distance
    order = np.lexsort((np.arange(len(cell)), far, error, cell))
    kept = order[np.unique(cell[order], return_index=True)[1]]
    marked = np.ones(len(cell), bool)
    marked[kept] = False
    return marked


def superobs(cell: np.ndarray, error: np.ndarray, correlation: float = 0.0) -> Superobs:
    """Average the readings of each cell with weights w_i ∝ 1/σ_i².

    The average's error has the variance Σ_ij w_i w_j ρ_ij σ_i σ_j = (1 − ρ) Σ w_i² σ_i² + ρ (Σ w_i σ_i)²: for
    ρ = 0 that is 1 / Σ σ_i⁻², and for ρ = 1 readings of equal error carry no more information than one of them.

    Parameters
    ----------
    cell : (M,) as from `cells`
    error : (M,) standard deviations, in the variables' units
    correlation : ρ in [0, 1] of the errors of two readings of a cell

    Returns
    -------
    Superobs

    Raises
    ------
    ValueError
        if ρ is not in [0, 1]
    """
    if not 0.0 <= correlation <= 1.0:
        raise ValueError(f"correlation {correlation!r} of the errors in a cell, expected a number in [0, 1]")
    number = _by_occurrence(np.asarray(cell).reshape(-1, 1))
    error = np.asarray(error, dtype=np.float64)
    precision = error**-2.0
    n = int(number.max(initial=-1)) + 1
    weight = precision / np.bincount(number, precision, n)[number]
    own = np.bincount(number, (weight * error) ** 2, n)
    common = np.bincount(number, weight * error, n) ** 2
    average = csr_matrix((weight, (number, np.arange(len(number)))), shape=(n, len(number)))
    return Superobs(number, average, np.sqrt((1.0 - correlation) * own + correlation * common))


def _by_occurrence(keys: np.ndarray) -> np.ndarray:
    _, first, label = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[label.reshape(-1)]
