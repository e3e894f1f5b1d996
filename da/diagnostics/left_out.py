"""Readings left out of an analysis, each with its neighbours, and what the analysis of the others misses them by.

An analysis is to be judged where there is no sensor. So near neighbours of a reading G are left out with it, as if
their sensors were not there: for them D = H B Hᵀ + R and q = D⁻¹ d give the difference from their estimate by all
others,

    e_G = (D⁻¹)_GG⁻¹ q_G

(Allen 1974; Golub, Heath & Wahba 1979). Putting that estimate in the place of d_G leaves the others' analysis as it is,
so that with the hat matrix S = H K and the residual r = d − S d the analysis without G misses reading i by

    r_i + Σ_{j ∈ G} S_ij e_j,

which is e_i itself where errors are independent.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree

from da.background.transform import Transform
from da.diagnostics.posterior import Posterior
from da.observation.diagonal_error import DiagonalError
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

_MOST_NEAR = 16  # readings that are left out together


def neighbourhoods(position: np.ndarray, near: float) -> list[np.ndarray]:
    """For each reading the numbers of those within `near` [m] of it, itself first, the nearest 16 at most.

    position : (M, 3) [m]
    """
    if len(position) < 2:
        return [np.array([i]) for i in range(len(position))]
    apart, found = cKDTree(position).query(position, k=min(_MOST_NEAR + 1, len(position)))
    others = (apart <= near) & (found != np.arange(len(position))[:, None])
    return [
        np.array([i, *row[mine][: _MOST_NEAR - 1]]) for i, (row, mine) in enumerate(zip(found, others, strict=True))
    ]


def left_out_innovation(inverse: np.ndarray, innovation: np.ndarray, near: list[np.ndarray]) -> np.ndarray:
    """(M,) e_i of each reading without itself and its neighbours, where D⁻¹, (M, M), is at hand."""
    weighted, result = inverse @ innovation, np.empty(len(innovation))
    for i, group in enumerate(near):
        result[i] = np.linalg.solve(inverse[np.ix_(group, group)], weighted[group])[0]
    return result


@dataclass(frozen=True)
class LeftOut:
    """What the analyses without each of this rank's readings need of U, H and R; a list with an entry for each.

    near : (g,) numbers among all readings of those that are left out with it, itself first
    hat : (g,) S_ij of these
    precision : (g, g) (D⁻¹)_GG, over the readings' units squared
    """

    near: list[np.ndarray]
    hat: list[np.ndarray]
    precision: list[np.ndarray]


def without_neighbourhoods(
    of: Posterior,
    transform: Transform,
    operator: ObservationOperator,
    error: ObservationError,
    position: np.ndarray,
    near: float,
    comm: MPI.Comm,
) -> LeftOut:
    """LeftOut of an analysis; it stays while the sensors do. Collective.

    Parameters
    ----------
    of : Posterior of the same U, H and R
    transform, operator, error : U, H and R, linear
    position : (M_local, 3) of this rank's readings [m]
    near : readings within this distance of each other are left out together [m]

    Cost: 4 M s² FLOPs, 24 M s bytes over the ranks. Where R is not diagonal, R⁻¹ as a whole on every rank.
    """
    product, root = transform.operator_product(operator), of.root
    # Woodbury: D⁻¹ = R⁻¹ − R⁻¹ HU C (HU)ᵀ R⁻¹, with C = T Tᵀ
    known, weighted = product @ root, error.solve(product) @ root
    groups = neighbourhoods(np.concatenate(comm.allgather(position)), near)[operator.rows]
    rows, inverse = _rows_of(weighted, operator.rows, groups, comm), _inverse(error, operator, comm)
    hat, precision = [], []
    for own, group in zip(known, groups, strict=True):
        others = np.array([rows[number] for number in group.tolist()])
        hat.append(others @ own)
        of_error = np.diag(inverse[group]) if inverse.ndim == 1 else inverse[np.ix_(group, group)]
        precision.append(of_error - others @ others.T)
    return LeftOut(groups, hat, precision)


def left_out(of: LeftOut, error: ObservationError, residual: np.ndarray, comm: MPI.Comm) -> np.ndarray:
    """(M_local,) y_i − H_i x of the analysis without reading i and its neighbours. Collective.

    residual : (M_local,) y − H x_a. NaN of a reading that R's correlations make known by the others.
    """
    solved = np.concatenate(comm.allgather(error.solve(residual)))
    result = np.full(len(residual), np.nan)
    for i, (group, hat, precision) in enumerate(zip(of.near, of.hat, of.precision, strict=True)):
        try:
            result[i] = residual[i] + hat @ cho_solve(cho_factor(precision), solved[group])
        except np.linalg.LinAlgError:
            continue
    return result


def _rows_of(values: np.ndarray, rows: slice, groups: list[np.ndarray], comm: MPI.Comm) -> dict[int, np.ndarray]:
    """{number: row} of this rank's values, and of others' that are in its groups. Collective."""
    asked = {number for group in groups for number in group.tolist()} - set(range(rows.start, rows.stop))
    wanted = sorted(set().union(*comm.allgather(asked)))
    given = {number: values[number - rows.start] for number in wanted if rows.start <= number < rows.stop}
    found = dict(enumerate(values, rows.start))
    for part in comm.allgather(given):
        found.update({number: row for number, row in part.items() if number in asked})
    return found


def _inverse(error: ObservationError, operator: ObservationOperator, comm: MPI.Comm) -> np.ndarray:
    """R⁻¹ of all readings on every rank: (M,) its diagonal where it is diagonal, else (M, M). Collective."""
    rows, m = operator.rows, operator.n_observations
    diagonal = all(comm.allgather(isinstance(error, DiagonalError)))
    if diagonal:
        return np.concatenate(comm.allgather(error.solve(np.ones(rows.stop - rows.start))))
    own = np.arange(rows.start, rows.stop)
    return np.concatenate(comm.allgather(error.solve((own[:, None] == np.arange(m)).astype(np.float64))))
