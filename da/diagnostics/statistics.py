"""Innovations and residuals by group: by variable, by station, or by both.

Arrays are whole and the same on every rank, for readings are few; :func:`da.analysis.statistics` tells the same of
values that lie over the ranks.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from da.analysis import Statistics


@dataclass(frozen=True)
class GroupStatistics:
    """What one group's readings say of background and analysis.

    innovation : of d = y − H x_b; residual : of r = y − H x_a
    chi_squared : Σ r_i (R⁻¹ r)_i over the number of readings; of all readings together it is 2 J_o(x_a) / M
    expected : what χ² is on average where B and R are right, Σ (1 − S_ii) over the number of readings; None where
        the influence of the readings is not known
    """

    innovation: Statistics
    residual: Statistics
    chi_squared: float
    expected: float | None

    def summary(self) -> dict[str, Any]:
        """Plain numbers for a log."""
        return asdict(self)


def describe(values: np.ndarray) -> Statistics:
    """Statistics of (k,) values, in their units."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return Statistics(0, np.nan, np.nan, np.nan)
    # about the mean itself: the difference of two large sums would lose the spread
    mean, std = float(values.mean()), float(values.std())
    return Statistics(len(values), mean, std, float(np.hypot(mean, std)))


def group_statistics(
    innovation: np.ndarray,
    residual: np.ndarray,
    weighted: np.ndarray,
    group: np.ndarray,
    influence: np.ndarray | None = None,
) -> dict[str, GroupStatistics]:
    """Statistics of each group's innovations and residuals.

    Parameters
    ----------
    innovation, residual : (M,) d and r, in the readings' units
    weighted : (M,) R⁻¹ r; r / σ² where errors are independent
    group : (M,) labels; a group's readings should be of one unit
    influence : (M,) S_ii of `da.diagnostics.influence.influence`, or None

    Returns
    -------
    {group: GroupStatistics}, in the order of the names

    Raises
    ------
    ValueError
        if the lengths differ
    """
    arrays = {"innovation": innovation, "residual": residual, "weighted": weighted}
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in arrays.items()}
    names, number = numbered(group)
    for name, values in {**arrays, **({} if influence is None else {"influence": np.asarray(influence)})}.items():
        if values.shape != number.shape:
            raise ValueError(f"{name} of shape {values.shape} for {len(number)} readings")
    told = {}
    for k, name in enumerate(names):
        of = number == k
        d, r, w = (values[of] for values in arrays.values())
        expected = None if influence is None else float(np.mean(1.0 - np.asarray(influence)[of]))
        told[name] = GroupStatistics(describe(d), describe(r), float(np.mean(r * w)), expected)
    return told


def numbered(label: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the groups in their order, and (M,) the number of each reading's."""
    names, number = np.unique(np.asarray(label, dtype=str), return_inverse=True)
    return [str(name) for name in names], number
