"""What a network that refines linear analyses is given: localised analyses of many states from the same sensors.

For sensors at some values, with C the localised covariances of all values with those and C_yy = L Lᵀ − R,

    x_a = x̄ + (C L⁻ᵀ) L⁻¹ d,    σ_a² = diag B − Σ (C L⁻ᵀ)²

are a product for each further state, so that a few hundred sets of sensors are enough for thousands of analyses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from da.observation.correlation import gaspari_cohn
from plugin.experiment.localised_gain import Localising
from plugin.experiment.states import StandardisedStates

_LEAST = 1e-4  # part of the variance that an analysis leaves at least


class LocalisedAnalyses:
    """Analyses of one variable with the covariances of some of its states, in single precision.

    states : StandardisedStates of one variable
    numbers : of the states that the covariances and the background, their mean, are made of
    """

    def __init__(self, states: StandardisedStates, numbers: np.ndarray) -> None:
        self.states, self.used = states, states.used
        sample = states.rows[numbers][:, self.used].astype(np.float64)
        self.background = sample.mean(axis=0)
        anomalies = (sample - self.background) / np.sqrt(len(numbers) - 1)
        self._leading = np.linalg.eigh(anomalies @ anomalies.T)[1][:, ::-1]
        self._anomalies = anomalies.astype(np.float32)
        self._variance = np.einsum("sn,sn->n", anomalies, anomalies)
        self._place = np.array(np.unravel_index(self.used, states.grid.shape))

    def gain(self, rows: np.ndarray, of: Localising) -> "Gain":
        """The gain of sensors at some of the values that take part.

        rows : (M,) numbers among those values, rising; of : Localising, with σ_o² of the readings
        """
        covariance = self._anomalies[:, rows].T @ self._anomalies
        taper = self._taper(rows, of)
        patterns = self._leading[:, : of.modes].T.astype(np.float32) @ self._anomalies
        kept = patterns[:, rows].T @ patterns
        covariance = kept + taper * (covariance - kept)
        observed = covariance[:, rows].astype(np.float64)
        observed = 0.5 * (observed + observed.T)
        observed[np.diag_indices_from(observed)] += of.variance
        lower = cholesky(observed, lower=True)
        whitened = solve_triangular(lower.astype(np.float32), covariance, lower=True, overwrite_b=True)
        explained = np.einsum("mn,mn->n", whitened, whitened)
        std = np.sqrt(np.maximum(self._variance - explained, _LEAST * self._variance))
        return Gain(self.background, rows, lower, whitened, std, taper.max(axis=0))

    def _taper(self, rows: np.ndarray, of: Localising) -> np.ndarray:
        """(M, values) factors: looked up in a table, because on a grid they depend on differences of indices alone."""
        shape, spacing = self.states.grid.shape, self.states.grid.spacing
        squared = np.zeros(())
        lengths = of.horizontal, of.horizontal, of.vertical
        for axis, (count, step, length) in enumerate(zip(shape, spacing, lengths, strict=True)):
            distance = np.arange(1 - count, count) * (0.0 if length is None else step / length)
            squared = squared + (distance**2).reshape([-1 if k == axis else 1 for k in range(3)])
        table = gaspari_cohn(np.sqrt(squared)).astype(np.float32)
        factors = np.empty((len(rows), len(self.used)), np.float32)
        for k, row in enumerate(rows):
            first = [count - 1 - index for count, index in zip(shape, self._place[:, row], strict=True)]
            window = tuple(slice(one, one + count) for one, count in zip(first, shape, strict=True))
            factors[k] = table[window].ravel()[self.used]
        return factors


@dataclass(frozen=True)
class Gain:
    """The gain of a set of sensors.

    background : (n,) x̄; rows : (M,) of the sensors
    lower : (M, M) L; whitened : (M, n) L⁻¹ Cᵀ
    std : (n,) of the analysis; nearness : (n,) largest factor of distance to a sensor
    """

    background: np.ndarray
    rows: np.ndarray
    lower: np.ndarray
    whitened: np.ndarray
    std: np.ndarray
    nearness: np.ndarray

    def analyses(self, readings: np.ndarray) -> np.ndarray:
        """(k, M) readings → (k, n) analyses."""
        innovations = readings - self.background[self.rows]
        weights = solve_triangular(self.lower, innovations.T, lower=True).astype(np.float32)
        return self.background.astype(np.float32) + weights.T @ self.whitened

    def inputs(self, readings: np.ndarray, noise: float) -> np.ndarray:
        """(k, L + 1, M) readings, those of now first, → (k, 6 + L, n) inputs of a `models.zoo.refinement.Refinement`.

        noise : of the readings, in standard deviations
        """
        count, times, _ = readings.shape
        analyses = self.analyses(readings.reshape(count * times, -1)).reshape(count, times, -1)
        inputs = np.zeros((count, 5 + times, analyses.shape[2]), np.float32)
        inputs[:, 0], inputs[:, 1], inputs[:, 2] = analyses[:, 0], self.std, self.nearness
        inputs[:, 3, self.rows] = readings[:, 0] - self.background[self.rows]
        inputs[:, 4, self.rows] = 1.0 / (1.0 + 10.0 * noise)
        inputs[:, 5] = 1.0
        inputs[:, 6:] = analyses[:, 1:] - analyses[:, :1]
        return inputs


def steps_before(states: StandardisedStates, lags: Sequence[float]) -> np.ndarray:
    """(L + 1,) numbers of states from one to those by each lag before it, zero first.

    Raises
    ------
    ValueError
        if the states are not evenly spaced, or a lag is no multiple of their spacing
    """
    if not lags:
        return np.zeros(1, int)
    spacing = np.diff(states.times)
    steps = np.concatenate([[0.0], np.asarray(lags, float) / spacing[0]])
    if not np.allclose(spacing, spacing[0], rtol=1e-6) or not np.allclose(steps, np.round(steps), atol=1e-3):
        raise ValueError(
            f"lags {list(lags)} s, expected multiples of the states' spacing, {spacing.min():g} to {spacing.max():g} s"
        )
    return np.round(steps).astype(int)
