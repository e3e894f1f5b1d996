"""Errors as many analyses show them: what R and H B Hᵀ ought to have been.

Where B and R are those of the errors, innovations d = y − H x_b and residuals r = y − H x_a = R D⁻¹ d with
D = H B Hᵀ + R have on average (Desroziers, Berre, Chapnik & Poli 2005, Q. J. R. Meteorol. Soc. 131, 3385):

    E[d dᵀ]       = H B Hᵀ + R     eq. 1
    E[(d − r) dᵀ] = H B Hᵀ         eq. 2
    E[r dᵀ]       = R              eq. 3
    E[(d − r) rᵀ] = H A Hᵀ         eq. 4, A being the analysis' covariance

Where they are not, the left sides are a first step towards what they ought to be: with B and R of one
shape and a wrong ratio they say how wrong. They are not if both are wrong in a way that hides it, as if
background errors have the scales of the readings'. Of one analysis they are noise; tens of them are needed.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from da.diagnostics.statistics import numbered


@dataclass(frozen=True)
class Estimate:
    """A variance from many products, in the square of the readings' unit.

    variance : their mean; it may be negative, by chance or where B and R do not fit the errors
    standard_error : of it, from the spread between the analyses; NaN if there is one
    """

    variance: float
    standard_error: float

    @property
    def std(self) -> float:
        """Its root; NaN where it is negative."""
        return float(np.sqrt(self.variance)) if self.variance >= 0.0 else float("nan")


@dataclass(frozen=True)
class ErrorEstimates:
    """What the analyses say of one group's readings.

    count : readings; analyses : that made them
    innovation : of d, to be compared with H B Hᵀ + R
    background : H B Hᵀ; observation : R; analysis : H A Hᵀ, variances
    """

    count: int
    analyses: int
    innovation: Estimate
    background: Estimate
    observation: Estimate
    analysis: Estimate

    def summary(self) -> dict[str, Any]:
        """Plain numbers for a log, None where there is no standard error."""
        told = asdict(self)
        for of in told.values():
            if isinstance(of, dict) and np.isnan(of["standard_error"]):
                of["standard_error"] = None
        return told


def error_estimates(
    innovation: np.ndarray, residual: np.ndarray, group: np.ndarray, analysis: np.ndarray, centred: bool = False
) -> dict[str, ErrorEstimates]:
    """Variances of each group's errors, from readings of many analyses.

    Parameters
    ----------
    innovation, residual : (N,) d and r of all analyses' readings, in the readings' units
    group : (N,) labels: the variable, the station, or both; a group's readings should be of one unit
    analysis : (N,) labels: which analysis made them, its time or number
    centred : take the groups' means from d and r first: a bias of the model would count as an error of either

    Returns
    -------
    {group: ErrorEstimates}, in the order of the names

    Raises
    ------
    ValueError
        if the lengths differ
    """
    d, r = np.asarray(innovation, dtype=np.float64), np.asarray(residual, dtype=np.float64)
    names, number = numbered(group)
    _, when = np.unique(np.asarray(analysis), return_inverse=True)
    if not d.shape == r.shape == number.shape == when.shape:
        raise ValueError(f"{d.shape} innovations, {r.shape} residuals, {number.shape} groups and {when.shape} analyses")
    told = {}
    for k, name in enumerate(names):
        of = number == k
        dk, rk = d[of], r[of]
        if centred:
            dk, rk = dk - dk.mean(), rk - rk.mean()
        _, within = np.unique(when[of], return_inverse=True)
        products = {"innovation": dk * dk, "background": (dk - rk) * dk, "observation": rk * dk}
        products["analysis"] = (dk - rk) * rk
        estimates = {of_what: _estimate(values, within) for of_what, values in products.items()}
        told[name] = ErrorEstimates(len(dk), int(within.max()) + 1, **estimates)
    return told


def _estimate(products: np.ndarray, within: np.ndarray) -> Estimate:
    """Mean of products, and its error: products of one analysis know of each other, those of two do not."""
    mean, n = float(products.mean()), int(within.max()) + 1
    if n < 2:
        return Estimate(mean, float("nan"))
    summed = np.bincount(within, products - mean)
    return Estimate(mean, float(np.sqrt(n / (n - 1) * np.sum(summed**2)) / len(products)))
