"""Innovations and residuals by group: by variable, by station, or by both.

Arrays are complete and the same on every rank, because observations are few; :func:`da.analysis.statistics` does the
same for values that are distributed over the ranks.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from da.analysis import Statistics


@dataclass(frozen=True)
class GroupStatistics:
    """Departures of one group's observations from background and analysis.

    innovation : of d = y − H x_b; residual : of r = y − H x_a
    chi_squared : Σ r_i (R⁻¹ r)_i over the number of observations; for all observations together 2 J_o(x_a) / M
    expected : what χ² is on average where B and R are right, Σ (1 − S_ii) over the number of observations; None if
        their influence is not known
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
    innovation, residual : (M,) d and r, in the observations' units
    weighted : (M,) R⁻¹ r; r / σ² where errors are independent
    group : (M,) labels; a group's observations should have one unit
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
    groups = {}
    for k, name in enumerate(names):
        of = number == k
        d, r, w = (values[of] for values in arrays.values())
        expected = None if influence is None else float(np.mean(1.0 - np.asarray(influence)[of]))
        groups[name] = GroupStatistics(describe(d), describe(r), float(np.mean(r * w)), expected)
    return groups


def numbered(label: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names of the groups in order, and the number of each observation's group, (M,)."""
    names, number = np.unique(np.asarray(label, dtype=str), return_inverse=True)
    return [str(name) for name in names], number
