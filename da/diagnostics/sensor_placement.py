"""Where one more sensor would reduce the analysis error most: greedy reduction of the total variance.

A candidate is a row g = H_c U / σ_c. With it the control's covariance becomes C − C g gᵀ C / (1 + gᵀ C g), so
that the total variance tr M C falls by (Cg)ᵀ M (Cg) / (1 + gᵀ C g), which needs no analysis and no observation. The
best candidate is taken, C is updated by this matrix of rank one, and the next one is chosen (Bishop, Etherton &
Majumdar 2001, Mon. Weather Rev. 129, 420, choose flight paths in this way). A greedy choice need not be the best set of
sensors; its first is the best single one.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.diagnostics.posterior import Posterior

_TIE = 1e-9  # gains closer than this count as equal: rounding, which ranks change, must not choose


@dataclass(frozen=True)
class Placement:
    """Sensors in the order of their choice.

    chosen : (k,) numbers of the candidates
    total : (k + 1,) tr M C, before and after each of them
    first_gain : (K_local,) reduction of tr M C by each candidate as the first one
    """

    chosen: np.ndarray
    total: np.ndarray
    first_gain: np.ndarray


def next_sensors(
    of: Posterior, candidates: np.ndarray, n: int, comm: MPI.Comm, metric: np.ndarray | None = None
) -> Placement:
    """Choose sensors one after another. Collective.

    Parameters
    ----------
    of : Posterior of the existing sensors
    candidates : (K_local, s) R_c^{-1/2} H_c U, one row for each place where a sensor could stand; candidates' errors
        are independent, and a place can be chosen once
    n : how many to choose
    comm : MPI communicator
    metric : (s, s) M as `da.diagnostics.posterior.metric` makes it; None counts the control's own variances

    Returns
    -------
    Placement, the same on every rank but for `first_gain`

    Raises
    ------
    ValueError
        on every rank, if there are fewer than n candidates, or a row does not fit or is not finite
    """
    rows = np.array(candidates, dtype=np.float64)
    s = len(of.eigenvalues)
    refuse_together(_problem(rows, s), comm)
    ends = np.cumsum(comm.allgather(len(rows)))
    if not 0 <= n <= ends[-1]:
        raise ValueError(f"{n} sensors to be chosen of {ends[-1]} candidates")
    metric = np.eye(s) if metric is None else np.asarray(metric, dtype=np.float64)
    first = ends[comm.rank] - len(rows)
    covariance = of.covariance
    known = rows @ covariance  # C g of each candidate
    valued = known @ metric  # M C g
    spread = np.einsum("ij,ij->i", known, rows)  # gᵀ C g
    gain = first_gain = np.einsum("ij,ij->i", valued, known) / (1.0 + spread)
    free, chosen, totals = np.ones(len(rows), bool), [], [float(np.sum(metric * covariance))]
    for _ in range(n):
        best = _first_best(gain, free, first, comm)
        owner = int(np.searchsorted(ends, best, side="right"))
        update = np.empty(s)
        if comm.rank == owner:
            update[:] = known[best - first] / np.sqrt(1.0 + spread[best - first])
            free[best - first] = False
        comm.Bcast(update, root=owner)
        along = rows @ update
        covariance -= np.outer(update, update)
        known -= np.outer(along, update)
        valued -= np.outer(along, metric @ update)
        spread -= along**2
        gain = np.einsum("ij,ij->i", valued, known) / (1.0 + spread)
        chosen.append(best)
        totals.append(float(np.sum(metric * covariance)))
    return Placement(np.array(chosen, dtype=np.int64), np.array(totals), first_gain)


def _first_best(gain: np.ndarray, free: np.ndarray, first: int, comm: MPI.Comm) -> int:
    """Number of the lowest of the free candidates whose gain is the largest."""
    largest = comm.allreduce(float(gain[free].max(initial=-np.inf)), MPI.MAX)
    as_good = np.flatnonzero(free & (gain >= largest - _TIE * abs(largest)))
    return comm.allreduce(int(as_good[0]) + first if len(as_good) else np.iinfo(np.int64).max, MPI.MIN)


def _problem(rows: np.ndarray, s: int) -> str | None:
    if rows.ndim != 2 or rows.shape[1] != s:
        return f"candidates of shape {rows.shape}, expected (candidates of this rank, {s})"
    return None if np.isfinite(rows).all() else "a candidate's row holds a value that is no number"
