"""Readings of before in one analysis with those of now: background errors of a state and of the states before it.

An increment stands for the errors of the present state, x' = V w with a column of coefficients for each snapshot.
Those of the state Δ before it are known by samples: of snapshots that are Δ apart (:mod:`da.background.lag_pairs`), P
of them, with W the coefficients of the modes in each snapshot, V Wᵀ the snapshots themselves,

    C(x'(t), x'(t − Δ_l)) = V N_0l Vᵀ,   C(x'(t − Δ_j), x'(t − Δ_l)) = V N_jl Vᵀ,   N_jl = (S−1)/(P−1) W_jᵀ W_l

where W_l has the rows of the snapshots that lie Δ_l before. Each is multiplied by exp(−δ²/2T²) of the difference in
time δ, and in space as :mod:`da.background.localisation` says: leading modes and the rest count as independent, and the
rest is tapered by distance. So the whole is a covariance, and without lags it is B.

The gain K = C_{x,(y_0, …, y_L)} (C_yy + R)⁻¹ is that of orthonormal representers, as there. What a reading of before
observes is no part of the present state, so increments become longer: behind a rank's values of the state stand those
that its readings of before observe. With them U and H are a matrix as any other, and so are the analysis, the Hessian,
the posterior errors and the influence of each reading.

For M readings of Q values, n_local rows and s modes on this rank:

    memory  8 n_local M bytes for U, 8 Q (s + P + M) bytes for what H uses of V, the same on every rank
    FLOPs   2 n_local Q s for the covariances, some 20 n_local Q for the taper, 2 n_local M² for U, 4 Q P s for N
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.sparse import csr_matrix

from coupling.common.collective import refuse_together
from da.background.lag_pairs import LagPairs, time_taper
from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper, representer_root
from da.background.modes import Modes
from da.observation.matrix_operator import MatrixOperator, of_rows

LAGGED = "lagged"  # name of the modes of longer increments
_BLOCK = 1 << 20  # covariances computed at once


@dataclass(frozen=True)
class Lagged:
    """U and H of increments with what readings of before observe.

    transform : LinearTransform; of its rows the first n_local are the state's, the rest (e_local,) of readings of
        before
    operator : MatrixOperator of such increments, its rows those of the H that it was made of
    """

    transform: LinearTransform
    operator: MatrixOperator


@dataclass(frozen=True)
class _Observed:
    """The values that H uses, each at its lag, on every rank.

    modes : (Q, s) rows of scale · V
    taper : Taper of them, or None
    lag : (Q,) number of the lag, 0 for now
    weights : (M, Q) H in terms of them
    """

    modes: np.ndarray
    taper: Taper | None
    lag: np.ndarray
    weights: csr_matrix


def lagged_transform(
    inner: LinearTransform,
    taper: Taper | None,
    pairs: LagPairs,
    time_scale: float,
    operator: MatrixOperator,
    lag: np.ndarray,
) -> Lagged:
    """U and H for readings of now and before. Collective.

    Parameters
    ----------
    inner : LinearTransform of the present state, whose modes know their coefficients or are the snapshots' anomalies
    taper : Taper of the values of an increment; None for covariances as the sample has them
    pairs : LagPairs of the snapshots that the modes are made of
    time_scale : T [s]; np.inf for no taper in time
    operator : MatrixOperator, H of each reading as of the state at its own time
    lag : (M_local,) number of the lag of each row, 0 for now, l for the l-th of `pairs`

    Raises
    ------
    ValueError
        on every rank, if modes, taper, pairs and lags do not fit each other
    """
    comm, n_local = inner.comm, inner.n_local
    if taper is not None:
        taper.refuse_other_modes(inner)
    refuse_together(_problem(inner, pairs, lag, operator), comm)
    in_time = time_taper(pairs.lags, time_scale)
    observed = _observed(inner, taper, operator, np.asarray(lag, int), comm)
    parts = _parts(inner, taper)
    samples = [_samples(inner.modes, observed, pairs, part) for part in parts]
    factor = (inner.modes.n_samples - 1) / (pairs.n_pairs - 1)
    readings = factor * _combined([one @ one.T for one in samples], observed.taper, observed.taper)
    readings *= in_time[np.ix_(observed.lag, observed.lag)]
    reduced = readings @ observed.weights.T  # (Q, M)
    by_reading = observed.weights @ reduced
    root = comm.bcast(representer_root(by_reading) if comm.rank == 0 else None)
    projection = np.asarray(observed.weights.T @ root)
    with_now = [
        factor * _to_modes(inner.modes, one, pairs.numbers[0], part) for one, part in zip(samples, parts, strict=True)
    ]
    first = operator.rows.start
    before = first + np.flatnonzero(lag)
    vectors = np.empty((n_local + len(before), root.shape[1]))
    step = max(1, _BLOCK // max(1, len(observed.lag)))
    for start in range(0, n_local, step):
        rows = slice(start, min(start + step, n_local))
        values = inner.rows(rows)
        near = None if taper is None else taper.rows(rows)
        products = [values[:, part] @ one.T for one, part in zip(with_now, parts, strict=True)]
        vectors[rows] = (in_time[0, observed.lag] * _combined(products, near, observed.taper)) @ projection
    vectors[n_local:] = by_reading[before] @ root
    modes = Modes(vectors, None, np.zeros(len(vectors)), inner.modes.n_samples, LAGGED)
    return Lagged(LinearTransform(modes, None, comm), _extended(operator, np.asarray(lag), comm))


def _problem(inner: LinearTransform, pairs: LagPairs, lag: np.ndarray, operator: MatrixOperator) -> str | None:
    modes, rows = inner.modes, operator.rows
    if modes.name not in ("reduced", "tsvd") or (modes.name == "tsvd" and modes.coefficients is None):
        return f"modes ({modes.name}) without their coefficients in each snapshot; make them of the snapshots anew"
    if np.shape(lag) != (rows.stop - rows.start,):
        return f"lags of shape {np.shape(lag)}, expected ({rows.stop - rows.start},) like this rank's rows of H"
    if len(lag) and not (np.min(lag) >= 0 and np.max(lag) <= len(pairs.lags)):
        return f"lag number {np.max(lag)}, expected 0 to {len(pairs.lags)}"
    if pairs.numbers.max() >= modes.n_samples:
        return f"pairs of snapshot {pairs.numbers.max()}, but the modes are of {modes.n_samples} snapshots"
    return None


def _parts(inner: LinearTransform, taper: Taper | None) -> list[slice]:
    """Modes that count as independent: the leading ones that are not tapered by distance, and the rest."""
    k = inner.n_control if taper is None else taper.untapered
    return [slice(0, k), slice(k, inner.n_control)]


def _combined(products: Sequence[np.ndarray], taper: Taper | None, other: Taper | None) -> np.ndarray:
    """Covariances of the leading modes and of the rest, tapered: (n, Q) each → (n, Q)."""
    leading, rest = products
    if taper is None or other is None:
        return leading
    between, distance = taper.factors(other)
    return between * (leading + distance * rest)


def _samples(modes: Modes, observed: _Observed, pairs: LagPairs, part: slice) -> np.ndarray:
    """(Q, P) the observed values in the snapshots of their lags, of some of the modes."""
    values = np.empty((len(observed.lag), pairs.n_pairs))
    for number, snapshots in enumerate(pairs.numbers):
        own = observed.lag == number
        if modes.coefficients is None:  # a mode is a snapshot
            whole = np.zeros((int(own.sum()), modes.n_samples))
            whole[:, part] = observed.modes[own, part]
            values[own] = whole[:, snapshots]
        else:
            values[own] = observed.modes[own, part] @ modes.coefficients[snapshots, part].T
    return values


def _to_modes(modes: Modes, samples: np.ndarray, now: np.ndarray, part: slice) -> np.ndarray:
    """(Q, number of the modes) what (Q, P) samples have in common with the modes of the present snapshots."""
    if modes.coefficients is not None:
        return samples @ modes.coefficients[now, part]
    whole = np.zeros((len(samples), modes.n_samples))
    whole[:, now] = samples
    return whole[:, part]


def _observed(
    inner: LinearTransform, taper: Taper | None, operator: MatrixOperator, lag: np.ndarray, comm: MPI.Comm
) -> _Observed:
    """The values that H uses. Collective; each rank has its own, so they are in the order of the state."""
    start, column, weight = operator.matrix.getValuesCSR()
    own_lag = np.repeat(lag, np.diff(start))
    counts, column, weight, lags = (
        np.concatenate(part) for part in zip(*comm.allgather((np.diff(start), column, weight, own_lag)), strict=True)
    )
    pairs, position = np.unique(np.stack([column, lags]), axis=1, return_inverse=True)
    start = np.concatenate([[0], np.cumsum(counts)])
    weights = csr_matrix((weight, position.ravel(), start), (len(counts), pairs.shape[1]))
    first, end = operator.matrix.getOwnershipRangeColumn()
    mine = pairs[0][(pairs[0] >= first) & (pairs[0] < end)] - first
    values = np.concatenate(comm.allgather(inner.rows(mine)))
    return _Observed(values, None if taper is None else taper.gathered(mine, comm), pairs[1], weights)


def _extended(operator: MatrixOperator, lag: np.ndarray, comm: MPI.Comm) -> MatrixOperator:
    """H of longer increments: rows of now as they are, those of before take the value that stands for them."""
    start, column, weight = operator.matrix.getValuesCSR()
    before = np.flatnonzero(lag)
    begins = np.asarray(operator.matrix.getOwnershipRangesColumn())
    added = np.concatenate([[0], np.cumsum(comm.allgather(len(before)))])
    rank = np.searchsorted(begins, column, side="right") - 1
    moved = column + added[rank]
    n_local = operator.matrix.getLocalSize()[1]
    own = begins[comm.rank + 1] + added[comm.rank] + np.arange(len(before))
    rows = [(moved[a:b], weight[a:b]) for a, b in zip(start[:-1], start[1:], strict=True)]
    for number, row in zip(own, before, strict=True):
        rows[row] = np.array([number]), np.ones(1)
    counts = np.array([len(of) for of, _ in rows])
    column, weight = (np.concatenate([np.empty(0), *(row[k] for row in rows)]) for k in (0, 1))
    return of_rows(counts, column, weight, n_local + len(before), comm)
