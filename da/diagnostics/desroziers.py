"""Error statistics from many analyses: what R and H B Hᵀ should have been.

If B and R are the true covariances, innovations d = y − H x_b and residuals r = y − H x_a = R D⁻¹ d with
D = H B Hᵀ + R have on average (Desroziers, Berre, Chapnik & Poli 2005, Q. J. R. Meteorol. Soc. 131, 3385):

    E[d dᵀ]       = H B Hᵀ + R     eq. 1
    E[(d − r) dᵀ] = H B Hᵀ         eq. 2
    E[r dᵀ]       = R              eq. 3
    E[(d − r) rᵀ] = H A Hᵀ         eq. 4, A being the analysis' covariance

If they are not, the left sides are a first step towards the true ones: where only the ratio of B to R is wrong they
show it. They fail where background and observation errors have the same correlations, so that nothing separates them.
From one analysis they are noise; tens of analyses are needed.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from da.diagnostics.statistics import numbered


@dataclass(frozen=True)
class Estimate:
    """A variance from many products, in the square of the observations' unit.

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
    """Estimates for one group of observations.

    count : number of observations; analyses : number of analyses they are from
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
        entries = asdict(self)
        for of in entries.values():
            if isinstance(of, dict) and np.isnan(of["standard_error"]):
                of["standard_error"] = None
        return entries


def error_estimates(
    innovation: np.ndarray, residual: np.ndarray, group: np.ndarray, analysis: np.ndarray, centred: bool = False
) -> dict[str, ErrorEstimates]:
    """Variances of each group's errors, from the observations of many analyses.

    Parameters
    ----------
    innovation, residual : (N,) d and r of all analyses, in the observations' units
    group : (N,) labels: the variable, the station, or both; a group's observations should have one unit
    analysis : (N,) labels of the analyses, such as times or numbers
    centred : subtract the groups' means from d and r first; otherwise a bias of the model counts as an error of either

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
    estimates = {}
    for k, name in enumerate(names):
        of = number == k
        dk, rk = d[of], r[of]
        if centred:
            dk, rk = dk - dk.mean(), rk - rk.mean()
        _, within = np.unique(when[of], return_inverse=True)
        products = {"innovation": dk * dk, "background": (dk - rk) * dk, "observation": rk * dk}
        products["analysis"] = (dk - rk) * rk
        variances = {of_what: _estimate(values, within) for of_what, values in products.items()}
        estimates[name] = ErrorEstimates(len(dk), int(within.max()) + 1, **variances)
    return estimates


def _estimate(products: np.ndarray, within: np.ndarray) -> Estimate:
    """Mean of products, and its error: products of one analysis are correlated, those of different ones are not."""
    mean, n = float(products.mean()), int(within.max()) + 1
    if n < 2:
        return Estimate(mean, float("nan"))
    summed = np.bincount(within, products - mean)
    return Estimate(mean, float(np.sqrt(n / (n - 1) * np.sum(summed**2)) / len(products)))
