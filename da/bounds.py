"""The nearest field within bounds that has the same total.

Clipping values at a lower bound adds mass, of a tracer for instance, that has no source. The field nearest to y in the
norm of the weights m (the lumped mass) that lies within bounds and keeps the total,

    minimise ½ Σ m_i (x_i − y_i)²  subject to  low ≤ x_i ≤ high,  Σ m_i x_i = Σ m_i y_i,

is x_i = min(max(y_i + λ, low), high) with one number λ for all, the multiplier of the total: these are the conditions
of Karush, Kuhn and Tucker of this convex problem (Brucker 1984). The total increases with λ and is piecewise linear, so
Newton's method ends after finitely many steps; it is safeguarded by a bracket.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

_STEPS = 200  # far more than needed: each halves the excess, or else the next one the bracket


@dataclass(frozen=True)
class Bounded:
    """A field within its bounds.

    values : (n,)
    shift : λ, in the field's units
    below, above : number of the given values under and over the bounds, over all ranks
    lowest, highest : of the given values
    total : Σ m y
    moved : Σ m |x − y| / 2, what was removed in some places and added in others
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


def nearest_within(values: np.ndarray, weights: np.ndarray, low: float, high: float, comm: MPI.Comm) -> Bounded:
    """Project a field onto its bounds and keep its total. Collective.

    Parameters
    ----------
    values : (n,) this rank's part of the field
    weights : (n,) not negative, and not all zero; values without weight, such as copies of those on other ranks, change
        like the others and are not counted
    low, high : bounds, −inf and inf where there is none
    comm : MPI communicator

    Returns
    -------
    Bounded
    """
    counted = weights > 0
    lowest = comm.allreduce(float(values[counted].min(initial=np.inf)), MPI.MIN)
    highest = comm.allreduce(float(values[counted].max(initial=-np.inf)), MPI.MAX)
    below, above = _sums(comm, counted & (values < low), counted & (values > high))
    whole, total, size = _sums(comm, weights, weights * values, weights * np.abs(values))
    nearest, shift, feasible = values, 0.0, low * whole <= total <= high * whole
    if below or above:
        if feasible:
            # at each end all values lie at a bound, or, without that bound, none was shifted
            ends = low - highest if np.isfinite(low) else 0.0, high - lowest if np.isfinite(high) else 0.0
            shift = _shift(values, weights, low, high, total, 4.0 * float(np.finfo(float).eps) * size, ends, comm)
        nearest = np.clip(values + shift, low, high)
    (moved,) = _sums(comm, weights * np.abs(nearest - values))
    if feasible:
        moved /= 2
    return Bounded(nearest, shift, int(below), int(above), lowest, highest, total, moved, feasible)


def _shift(
    values: np.ndarray,
    weights: np.ndarray,
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
        shifted = values + shift
        free = (shifted > low) & (shifted < high)
        sum_, slope = _sums(comm, weights * np.clip(shifted, low, high), weights * free)
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
