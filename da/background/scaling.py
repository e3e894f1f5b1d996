"""Scales of the variables, by which anomalies are divided before modes or networks are made of them.

Speeds, pressures and concentrations become comparable in units of their spread: one for each variable, or one for each
value of the state. Means are not changed; they belong to the background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.background.snapshots import row_blocks


@dataclass(frozen=True)
class Scaling:
    """Factor of each value of the state: x = scale · x_scaled for anomalies and increments.

    scale : (n_local,) in the variables' units; zero where a value takes no part
    name : "variable" or "point"
    """

    scale: np.ndarray
    name: str

    def divide(self, anomalies: np.ndarray) -> np.ndarray:
        """(n_local,) or (n_local, k) in units of `scale`; zero where a value takes no part."""
        inverse = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0.0)
        anomalies = np.asarray(anomalies, dtype=np.float64)
        return anomalies * (inverse if anomalies.ndim == 1 else inverse[:, None])


def variable_scaling(
    snapshots: np.ndarray, variables: Sequence[str], comm: MPI.Comm, mask: np.ndarray | None = None
) -> Scaling:
    """One spread for each variable: root of the points' mean variance. Collective.

    Parameters
    ----------
    snapshots : (n_local, S), this rank's rows, whole points
    variables : names in the order of the state
    comm : MPI communicator
    mask : (n_local / n_variables,) bool, true where a point takes part; None for all

    Raises
    ------
    ValueError
        if a variable does not vary, or rows and mask do not fit the number of variables
    """
    variance, mask = _variances(snapshots, variables, comm, mask)
    total = comm.allreduce(np.append(variance[mask].sum(axis=0), mask.sum()))
    if total[-1] == 0:
        raise ValueError("the mask leaves no grid point on any rank; give a mask with points that take part")
    constant = [name for name, sum_ in zip(variables, total[:-1], strict=True) if sum_ == 0.0]
    if constant:
        raise ValueError(f"variable {constant[0]!r} does not vary in the snapshots; leave it out")
    return Scaling((mask[:, None] * np.sqrt(total[:-1] / total[-1])).ravel(), "variable")


def point_scaling(
    snapshots: np.ndarray, variables: Sequence[str], comm: MPI.Comm, mask: np.ndarray | None = None, floor: float = 1e-3
) -> Scaling:
    """A spread for each value of the state, as Mack et al. 2020 standardise. Collective.

    A point whose spread is below `floor` times the variable's largest is left out: divided by it, noise would count as
    much as the flow.

    Parameters
    ----------
    snapshots, variables, comm, mask : as in `variable_scaling`
    floor : smallest spread that takes part, relative to the variable's largest

    Raises
    ------
    ValueError
        as `variable_scaling`
    """
    variance, mask = _variances(snapshots, variables, comm, mask)
    spread = np.sqrt(variance) * mask[:, None]
    largest = np.max(comm.allgather(spread.max(axis=0, initial=0.0)), axis=0)
    constant = [name for name, value in zip(variables, largest, strict=True) if value == 0.0]
    if constant:
        raise ValueError(f"variable {constant[0]!r} does not vary in the snapshots; leave it out")
    return Scaling(np.where(spread < floor * largest, 0.0, spread).ravel(), "point")


def _variances(
    snapshots: np.ndarray, variables: Sequence[str], comm: MPI.Comm, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(n_points, n_variables) unbiased variances of this rank's values, and its mask."""
    snapshots, n_variables = np.asarray(snapshots), len(variables)
    refuse_together(_misfit_of_shapes(snapshots.shape, n_variables, mask), comm)
    n_points = len(snapshots) // n_variables
    variance = np.empty(len(snapshots))
    # by blocks, because the snapshots may be in a file; summed in the same order wherever they are
    for rows in row_blocks(snapshots.shape):
        variance[rows] = np.ascontiguousarray(snapshots[rows], dtype=np.float64).var(axis=1, ddof=1)
    by_point = variance.reshape(n_points, n_variables)
    return by_point, np.ones(n_points, bool) if mask is None else np.asarray(mask, bool)


def _misfit_of_shapes(shape: tuple[int, ...], n_variables: int, mask: np.ndarray | None) -> str | None:
    if len(shape) != 2 or shape[1] < 2:
        return f"snapshots of shape {shape}, expected (rows of this rank, two or more snapshots)"
    if shape[0] % n_variables:
        return f"{shape[0]} rows do not divide into points of {n_variables} variables; give each rank whole points"
    if mask is not None and np.shape(mask) != (shape[0] // n_variables,):
        return f"mask of shape {np.shape(mask)}, expected ({shape[0] // n_variables},): one mark for each point"
    return None
