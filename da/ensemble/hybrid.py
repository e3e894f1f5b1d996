"""Hybrid: static modes and a localised ensemble in one control vector, with a weight for each covariance.

    B = β_s U_s U_sᵀ + β_e C Cᵀ ∘ X Xᵀ,    δx = √β_s U_s v_s + √β_e Σ_j c_j ∘ X v_j

(Hamill & Snyder 2000; Lorenc 2003; Wang, Snyder & Hamill 2007). N members span N − 1 patterns only; the static modes,
of earlier runs, let the mean go where no member is. The mean is the minimum of J over both controls. The members'
anomalies follow the ensemble's own update, as in Wang, Barker, Snyder & Hamill 2008: static modes say nothing of them.
With β_s = 0, β_e = 1 all of it is the 4DEnVar; with β_s = 1, β_e = 0 the mean is the 3D-Var's. The static part takes
the background's errors for constant over the window, as FGAT does.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.background.transform import Transform
from da.ensemble.ensemble import EnsembleReadings
from da.ensemble.envar import (
    EnVarUpdate,
    Patterns,
    anomaly_weights,
    ensemble_part,
    global_update,
    mean_by_minimisation,
)  # fmt: skip
from da.ensemble.subspace import ObservedPart, ObservedSubspace, observed_subspace, spectrum


@dataclass(frozen=True)
class StaticErrors:
    """Background errors that do not come from the members.

    transform : U_s, linear
    observed : (M, s) H U_s in the order of the readings, in their units, the same on every rank
    """

    transform: Transform
    observed: np.ndarray


@dataclass(frozen=True)
class HybridUpdate:
    """`EnsembleUpdate` of a hybrid analysis: the ensemble's part, and the same static increment for every member.

    ensemble : EnVarUpdate
    increment : (n_local,) √β_s U_s v_s, in the state's units
    """

    ensemble: EnVarUpdate
    increment: np.ndarray

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis, of the rows that it was made for: (n_local, N) → (n_local, N)."""
        if len(prior) != len(self.increment):
            raise ValueError(f"{len(prior)} rows, expected the {len(self.increment)} of the static modes")
        return np.asarray(self.ensemble.state(prior) + self.increment[:, None])

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis, by the ensemble's unlocalised update: (P, N) → (P, N)."""
        return self.ensemble.parameters(prior)

    def summary(self) -> dict[str, Any]:
        """As `EnVarUpdate.summary`."""
        return self.ensemble.summary()


def hybrid(
    readings: EnsembleReadings,
    comm: MPI.Comm,
    static: StaticErrors,
    patterns: Patterns | None = None,
    *,
    static_weight: float = 0.5,
    ensemble_weight: float = 0.5,
    **minimiser: Any,
) -> HybridUpdate:
    """The hybrid analysis of an ensemble. Collective.

    Parameters
    ----------
    readings, comm, patterns, minimiser : as `da.ensemble.envar.envar`
    static : StaticErrors
    static_weight, ensemble_weight : β_s and β_e, factors of the covariances

    Raises
    ------
    ValueError
        on every rank, if a weight is negative, U_s is not linear, or `observed` does not fit the readings
    MinimisationError
        if TAO finds no minimum
    """
    refuse_together(_problem(readings, static, static_weight, ensemble_weight), comm)
    columns = np.sqrt(static_weight) * static.observed / readings.error.std_local[:, None]
    parts = [ObservedPart(columns, np.ones((len(readings), 1))), ensemble_part(readings, patterns, ensemble_weight)]
    mean = mean_by_minimisation(readings, parts, comm, minimiser)
    static_control, control = ObservedSubspace(parts).split(mean.control)
    increment = np.sqrt(static_weight) * static.transform.apply(static_control)
    own = ensemble_part(readings, patterns)
    of = spectrum(observed_subspace([own], readings.error), comm) if len(readings) else None
    weights = np.sqrt(ensemble_weight) * control[:, None] - anomaly_weights(readings, of, own.n_control)
    rows = None if patterns is None else patterns.rows
    values = {"method": "hybrid", **mean.values}
    return HybridUpdate(EnVarUpdate(weights, rows, global_update(readings, comm), values), increment)


def _problem(
    readings: EnsembleReadings, static: StaticErrors, static_weight: float, ensemble_weight: float
) -> str | None:
    for name, weight in (("static", static_weight), ("ensemble", ensemble_weight)):
        if not (np.isfinite(weight) and weight >= 0.0):
            return f"{name} weight {weight!r}, expected a number of zero or more"
    if not static.transform.linear:
        return "the static part's U is not linear; a hybrid analysis needs linear modes"
    expected = (len(readings), static.transform.n_control)
    if np.shape(static.observed) != expected:
        return f"static modes at the readings of shape {np.shape(static.observed)}, expected {expected}"
    return None
