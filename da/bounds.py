"""The nearest field within bounds that has the same total.

Clipping values at a lower bound adds mass, of a tracer for instance, that has no source. The field nearest to y in the
norm of the weights m (the lumped mass) that lies within bounds and keeps the total,

    minimise ½ Σ m_i (x_i − y_i)²  subject to  low ≤ x_i ≤ high,  Σ m_i x_i = Σ m_i y_i,

is x_i = min(max(y_i + λ, low), high) with one number λ for all, the multiplier of the total: these are the conditions
of Karush, Kuhn and Tucker of this convex problem (Brucker 1984). The total increases with λ and is piecewise linear, so
Newton's method ends after finitely many steps; it is safeguarded by a bracket.

Where a value's part of the total is not its weight but r_i times it, as of quadratic elements, whose integrals may be
negative, the total is Σ m_i r_i x_i, and x_i = min(max(y_i + λ r_i, low), high).
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

_STEPS = 200  # far more than needed: each halves the excess, or else the next one the bracket


@dataclass(frozen=True)
class Bounded:
    """A field within its bounds.

    values : (n,)
    shift : λ, in the field's units; a value is moved by λ r
    below, above : number of the given values under and over the bounds, over all ranks
    lowest, highest : of the given values
    total : Σ m r y
    moved : Σ m |r (x − y)| / 2, what was removed in some places and added in others
    feasible : false if no field within the bounds has this total: values are then clipped at the bounds, and `moved`
        is what that added or removed
    """

    values: np.ndarray
    shift: float
    below: int
    above: int
    lowest: float
    highest: float
    total: float
    moved: float
    feasible: bool


def nearest_within(
    values: np.ndarray, weights: np.ndarray, low: float, high: float, comm: MPI.Comm, ratio: np.ndarray | None = None
) -> Bounded:
    """Project a field onto its bounds and keep its total. Collective.

    Parameters
    ----------
    values : (n,) this rank's part of the field
    weights : (n,) not negative, and not all zero; values without weight, such as copies of those on other ranks, change
        like the others and are not counted
    low, high : bounds, −inf and inf where there is none
    comm : MPI communicator
    ratio : (n,) r; None is one for all

    Returns
    -------
    Bounded
    """
    counted = weights > 0
    ratio = np.ones(len(values)) if ratio is None else ratio
    parts = weights * ratio
    lowest = comm.allreduce(float(values[counted].min(initial=np.inf)), MPI.MIN)
    highest = comm.allreduce(float(values[counted].max(initial=-np.inf)), MPI.MAX)
    below, above = _sums(comm, counted & (values < low), counted & (values > high))
    up, down, total, size = _sums(
        comm, np.maximum(parts, 0.0), np.minimum(parts, 0.0), parts * values, np.abs(parts * values)
    )
    least, most = (up * one + (down * other if down else 0.0) for one, other in ((low, high), (high, low)))
    nearest, shift, feasible = values, 0.0, least <= total <= most
    if below or above:
        if feasible:
            # at each end all values lie at a bound, or, without that bound, none was shifted
            ends = low - highest if np.isfinite(low) else 0.0, high - lowest if np.isfinite(high) else 0.0
            tolerance = 4.0 * float(np.finfo(float).eps) * size
            if down:
                reach = max(highest - lowest, low - lowest if np.isfinite(low) else 0.0, highest - high, 1e-300)
                ends = _ends(values, parts, ratio, low, high, total, reach, comm)
            shift = _shift(values, parts, ratio, low, high, total, tolerance, ends, comm)
        nearest = np.clip(values + shift * ratio, low, high)
    (moved,) = _sums(comm, np.abs(parts * (nearest - values)))
    if feasible:
        moved /= 2
    return Bounded(nearest, shift, int(below), int(above), lowest, highest, total, moved, feasible)


def _ends(
    values: np.ndarray,
    parts: np.ndarray,
    ratio: np.ndarray,
    low: float,
    high: float,
    total: float,
    reach: float,
    comm: MPI.Comm,
) -> tuple[float, float]:
    """Two λ between which the field with the total is, found by doubling from ± `reach`; there is one."""
    ends = []
    for sign in (-1.0, 1.0):
        end = sign * reach
        for _ in range(_STEPS):
            (sum_,) = _sums(comm, parts * np.clip(values + end * ratio, low, high))
            if sign * (sum_ - total) >= 0.0:
                break
            end *= 2.0
        ends.append(end)
    return ends[0], ends[1]


def _shift(
    values: np.ndarray,
    parts: np.ndarray,
    ratio: np.ndarray,
    low: float,
    high: float,
    total: float,
    tolerance: float,
    ends: tuple[float, float],
    comm: MPI.Comm,
) -> float:
    """λ, between `ends`, whose field has the total to within a tolerance, or as near as rounding lets it."""
    left, right = ends
    shift, previous = min(max(0.0, left), right), np.inf
    for _ in range(_STEPS):
        shifted = values + shift * ratio
        free = (shifted > low) & (shifted < high)
        sum_, slope = _sums(comm, parts * np.clip(shifted, low, high), parts * ratio * free)
        excess = sum_ - total
        if abs(excess) <= tolerance:
            break
        left, right = (left, shift) if excess > 0 else (shift, right)
        step = -excess / slope if slope > 0 else np.inf
        good = left < shift + step < right and abs(excess) <= previous / 2
        following = shift + step if good else (left + right) / 2
        if following == shift:
            break
        shift, previous = following, abs(excess)
    return shift


def _sums(comm: MPI.Comm, *parts: np.ndarray) -> list[float]:
    """Sum of each (n,) array over all ranks."""
    sums = np.array([np.sum(part, dtype=np.float64) for part in parts])
    comm.Allreduce(MPI.IN_PLACE, sums)
    return sums.tolist()
