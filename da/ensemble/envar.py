"""4DEnVar: the mean by minimisation over the ensemble's subspace, readings at their own times, localised in space.

The increment is δx = Σ_j c_j ∘ X v_j, X the members' anomalies over √(N − 1); its control w = (v_1, …, v_J) minimises

    J(w) = ½ wᵀw + ½ ‖d − G w‖²,    G = R^{-1/2} [c_1 ∘ Y, …, c_J ∘ Y]

with Y the anomalies of H(x_i), each reading at its own time (Liu, Xiao & Wang 2008; Desroziers, Camino & Berre 2014).
No adjoint model is needed. Patterns c_j are those of a taper, C Cᵀ ≈ T (Bishop & Hodyss 2009;
`da.background.modulation`); without localisation there is one of ones, and J = 1.

Members follow with the gain whose square is the analysis's covariance (Bishop, Whitaker & Lei 2017, eq. 19):

    x_i' ← x_i' − Σ_j c_j ∘ X (f(GᵀG) Gᵀ R^{-1/2} y_i')_j,    f(λ) = (1 − (1 + λ)^{-1/2}) / λ

What is exact: without localisation the mean is the Kalman filter's (its smoother's, where readings or rows are of
several times), and the members have its covariance; the update is the ETKF's symmetric square root. Localised, the mean
is the Kalman filter's for B = C Cᵀ ∘ X Xᵀ, as far as patterns are constant where a reading takes its values and over
the window; the members then have nearly, not exactly, its covariance, because N of them cannot. Parameters have no
place: they follow the unlocalised update, mean and spread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from da.background.localisation import Taper
from da.background.modulation import taper_patterns
from da.ensemble.ensemble import EnsembleReadings, anomalies_of
from da.ensemble.subspace import ObservedPart, Spectrum, SubspaceCost, kalman, observed_subspace, spectrum, square_root
from da.minimisation.minimise import minimise

_BLOCK = 1 << 20  # values of a block of rows, times patterns and members


@dataclass(frozen=True)
class Patterns:
    """Patterns of a taper, C Cᵀ ≈ T.

    rows : (n_local, J) at this rank's values of a state
    readings : (M, J) at the readings, the same on every rank
    """

    rows: np.ndarray
    readings: np.ndarray


def patterns_of(taper: Taper, readings: EnsembleReadings, variable: np.ndarray, comm: MPI.Comm) -> Patterns:
    """Patterns of a taper at the rows and at readings. Collective.

    Parameters
    ----------
    taper : Taper of this rank's rows
    readings : EnsembleReadings
    variable : (M,) number of each reading's variable in the taper; of a speed, that of a component

    Raises
    ------
    ValueError
        on every rank, if lengths are so short that there are too many patterns, or a reading is far outside the domain
    """
    of = taper_patterns(taper, comm)
    there = Taper(readings.place, np.asarray(variable), taper.horizontal, taper.vertical, taper.between)
    return Patterns(of.at(taper), of.at(there))


@dataclass(frozen=True)
class Mean:
    """The minimum of J, for a ledger.

    control : (s,) w
    spectrum : of G; None where there are no readings
    values : plain numbers and names
    """

    control: np.ndarray
    spectrum: Spectrum | None
    values: dict[str, Any]


@dataclass(frozen=True)
class EnVarUpdate:
    """`EnsembleUpdate` by weights of the anomalies.

    weights : (N J, N) for each member, those of the modulated anomalies that are added to it
    patterns : (n_local, J) at the rows; None for one of ones, and then it takes any rows
    global_weights : (N, N) those of the parameters
    values : for the ledger
    """

    weights: np.ndarray
    patterns: np.ndarray | None
    global_weights: np.ndarray
    values: dict[str, Any]

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis: (n_local, N) → (n_local, N); localised, of the rows that it was made for."""
        if self.patterns is not None and len(self.patterns) != len(prior):
            raise ValueError(f"{len(prior)} rows, expected the {len(self.patterns)} that the update is localised for")
        return modulated_update(prior, self.weights, self.patterns)

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis, by the unlocalised update: (P, N) → (P, N)."""
        return modulated_update(prior, self.global_weights, None)

    def summary(self) -> dict[str, Any]:
        """For the ledger: χ², degrees of freedom for signal, J, iterations; None for what is undefined."""
        return dict(self.values)


def envar(
    readings: EnsembleReadings, comm: MPI.Comm, patterns: Patterns | None = None, **minimiser: Any
) -> EnVarUpdate:
    """The 4DEnVar analysis of an ensemble. Collective.

    Parameters
    ----------
    readings : EnsembleReadings, each at its own time
    comm : MPI communicator of the rows
    patterns : Patterns of the localisation, `patterns_of`; None without
    minimiser : keyword arguments of `da.minimisation.minimise.minimise`

    Returns
    -------
    EnVarUpdate

    Raises
    ------
    MinimisationError
        if TAO finds no minimum
    """
    part = ensemble_part(readings, patterns)
    mean = mean_by_minimisation(readings, [part], comm, minimiser)
    weights = mean.control[:, None] - anomaly_weights(readings, mean.spectrum, part.n_control)
    global_weights = weights if patterns is None else global_update(readings, comm)
    return EnVarUpdate(
        weights, None if patterns is None else patterns.rows, global_weights, {"method": "4denvar", **mean.values}
    )


def ensemble_part(readings: EnsembleReadings, patterns: Patterns | None, weight: float = 1.0) -> ObservedPart:
    """G of the ensemble, its covariances times a weight."""
    columns = readings.anomalies / readings.error.std_local[:, None] * np.sqrt(weight / (readings.n_members - 1))
    return ObservedPart(columns, np.ones((len(readings), 1)) if patterns is None else patterns.readings)


def mean_by_minimisation(
    readings: EnsembleReadings, parts: Sequence[ObservedPart], comm: MPI.Comm, minimiser: dict[str, Any]
) -> Mean:
    """The control of least J, over one part of a subspace or more. Collective.

    TAO starts at the Kalman gain's solution by the spectrum of G, which the members need anyway, and confirms it.
    """
    subspace = observed_subspace(parts, readings.error)
    counts = {"members": readings.n_members, "readings": len(readings)}
    if len(readings) == 0:
        none = dict.fromkeys(("chi_squared", "cost_initial", "cost", "cost_background"))
        numbers = {**counts, "degrees_of_freedom": 0.0, "iterations": 0, "evaluations": 0, "reason": "no readings"}
        return Mean(np.zeros(subspace.n_control), None, {**none, **numbers})
    innovation = readings.whitened()[0]
    of = spectrum(subspace, comm)
    cost = SubspaceCost(subspace, innovation)
    minimum = minimise(cost, comm, **{"start": of.gain(kalman, innovation), **minimiser})
    misfit = cost.misfit(minimum.control)
    values = {
        **counts,
        "chi_squared": float(misfit @ misfit) / len(readings),
        "degrees_of_freedom": of.degrees_of_freedom,
        "cost_initial": 0.5 * float(innovation @ innovation),
        "cost": minimum.trace[-1].cost,
        "cost_background": minimum.trace[-1].background,
        "iterations": minimum.iterations,
        "evaluations": minimum.evaluations,
        "reason": minimum.reason,
    }
    return Mean(minimum.control, of, values)


def anomaly_weights(readings: EnsembleReadings, of: Spectrum | None, n_control: int) -> np.ndarray:
    """(s, N) what is taken from each anomaly: f(GᵀG) Gᵀ R^{-1/2} y_i'."""
    if of is None:
        return np.zeros((n_control, readings.n_members))
    return of.gain(square_root, readings.whitened()[1])


def global_update(readings: EnsembleReadings, comm: MPI.Comm) -> np.ndarray:
    """(N, N) weights of the unlocalised update, for parameters. Collective."""
    part = ensemble_part(readings, None)
    if len(readings) == 0:
        return np.zeros((readings.n_members, readings.n_members))
    of = spectrum(observed_subspace([part], readings.error), comm)
    mean = of.gain(kalman, readings.whitened()[0])
    return mean[:, None] - anomaly_weights(readings, of, part.n_control)


def modulated_update(prior: np.ndarray, weights: np.ndarray, patterns: np.ndarray | None) -> np.ndarray:
    """x_i + Σ_j c_j ∘ X v_j of each member's weights, row by row; nothing collective.

    Parameters
    ----------
    prior : (n, N) members
    weights : (N J, N)
    patterns : (n, J); None for one of ones

    Returns
    -------
    (n, N); X are the anomalies of `prior`, over √(N − 1)
    """
    n_members = weights.shape[1]
    if prior.shape[1:] != (n_members,):
        raise ValueError(f"members of shape {prior.shape}, expected {n_members} columns as in the analysis")
    result = np.array(prior, np.float64)
    by_member = weights.reshape(n_members, -1) / np.sqrt(n_members - 1)
    step = max(1, _BLOCK // max(1, by_member.shape[1]))
    for first in range(0, len(prior), step):
        rows = slice(first, first + step)
        added = anomalies_of(prior[rows]) @ by_member
        if patterns is None:
            result[rows] += added
        else:
            result[rows] += np.einsum("nj,nji->ni", patterns[rows], added.reshape(len(added), -1, n_members))
    return result
