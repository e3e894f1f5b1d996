"""The influence of each observation on the analysis, and the analysis without it.

S = H K is the hat matrix: S_ij is the sensitivity of the analysis at observation i to observation j (Cardinali,
Pezzulli & Andersson 2004, Q. J. R. Meteorol. Soc. 130, 2767). Its diagonal lies between 0, an observation without
influence, and 1, one that the analysis fits exactly. With it the analysis without an observation is known there without
being made.
"""

from dataclasses import dataclass

import numpy as np

from da.background.transform import Transform
from da.diagnostics.posterior import Posterior
from da.observation.diagonal_error import DiagonalError
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

_COLUMNS = 256  # of R⁻¹ computed at once


@dataclass(frozen=True)
class Influence:
    """Of this rank's observations, each (M_local,).

    influence : S_ii, no unit; their sum over all observations is the degrees of freedom for signal
    left_out : y_i − H_i x of the analysis without observation i, in the observations' units
    standardised : difference between observation i and its estimate from all others, over the standard deviation of
        that; of mean square one if B and R are right
    """

    influence: np.ndarray
    left_out: np.ndarray
    standardised: np.ndarray


def influence(
    of: Posterior, transform: Transform, operator: ObservationOperator, error: ObservationError, residual: np.ndarray
) -> Influence:
    """Influence of each observation and its leave-one-out residual, in closed form. Collective.

    With D = H B Hᵀ + R and r = d − H U w, q = R⁻¹ r = D⁻¹ d, the difference between observation i and its
    estimate from the others is e_i = q_i / (D⁻¹)_ii, and that to their analysis r_i + S_ii e_i. For independent errors
    both are r_i / (1 − S_ii) (Allen 1974; Golub, Heath & Wahba 1979); with correlated errors the others carry
    information on the error of observation i, and the two differ.

    Parameters
    ----------
    of : Posterior of the same U, H and R
    transform, operator, error : U, H and R, linear
    residual : (M_local,) y − H x_a

    Returns
    -------
    Influence

    Cost: 2 M s² FLOPs. Where R is not diagonal, M columns of R⁻¹ in blocks.
    """
    residual = np.asarray(residual, dtype=np.float64)
    product, covariance = transform.operator_product(operator), of.covariance
    weighted = error.solve(product)
    known = product @ covariance
    hat = np.einsum("ij,ij->i", known, weighted)
    # Woodbury: D⁻¹ = R⁻¹ − R⁻¹ HU C (HU)ᵀ R⁻¹
    precision = _inverse_diagonal(error, operator) - np.einsum("ij,ij->i", weighted @ covariance, weighted)
    solved = error.solve(residual)
    # of a reading that R's correlations make known by the others nothing is left
    departure = np.divide(solved, precision, out=np.full(len(solved), np.nan), where=precision > 0.0)
    return Influence(hat, residual + hat * departure, departure * np.sqrt(np.maximum(precision, 0.0)))


def _inverse_diagonal(error: ObservationError, operator: ObservationOperator) -> np.ndarray:
    """(M_local,) diagonal of R⁻¹."""
    rows = operator.rows
    if isinstance(error, DiagonalError):
        return error.solve(np.ones(rows.stop - rows.start))
    result = np.empty(rows.stop - rows.start)
    own = np.arange(rows.start, rows.stop)
    for first in range(0, operator.n_observations, _COLUMNS):
        columns = np.arange(first, min(first + _COLUMNS, operator.n_observations))
        solved = error.solve((own[:, None] == columns).astype(np.float64))
        mine = (own >= columns[0]) & (own <= columns[-1])
        result[mine] = solved[mine, own[mine] - first]
    return result


def influence_by_group(influences: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """Degrees of freedom for signal by variable or station: {group: Σ S_ii}, in the order of the names.

    influences : (M,) S_ii of all readings; group : (M,) labels
    """
    names, number = np.unique(np.asarray(group), return_inverse=True)
    summed = np.bincount(number, influences, len(names)) if len(names) else np.empty(0)
    return {str(name): float(value) for name, value in zip(names, summed, strict=True)}
