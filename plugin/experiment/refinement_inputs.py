"""What a network that refines linear analyses is given: analyses of many states from the same sensors, now and before.

For readings of now and before, with C the localised covariances of all values with those and C_yy + R = L Lᵀ,

    x_a = x̄ + (C L⁻ᵀ) L⁻¹ d,    σ_a² = diag B − Σ (C L⁻ᵀ)²

are a product for each further state, so that a few hundred sets of sensors are enough for thousands of analyses. They
are those of `lagged_gain`, in single precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from da.background.lag_pairs import lag_pairs, time_taper
from da.observation.correlation import gaspari_cohn
from plugin.experiment.lagged_gain import Lagging, readings_before, states_before
from plugin.experiment.localised_gain import Localising
from plugin.experiment.states import StandardisedStates

_LEAST = 1e-4  # part of the variance that an analysis leaves at least


class LaggedAnalyses:
    """Analyses of one variable with the covariances of some of its states.

    states : StandardisedStates of one variable
    numbers : of the states that the covariances and the background, their mean, are made of
    """

    def __init__(self, states: StandardisedStates, numbers: np.ndarray) -> None:
        self.states, self.used, self._times = states, states.used, states.times[numbers]
        sample = states.rows[numbers][:, self.used].astype(np.float64)
        self.background = sample.mean(axis=0)
        anomalies = (sample - self.background) / np.sqrt(len(numbers) - 1)
        self._leading = np.linalg.eigh(anomalies @ anomalies.T)[1][:, ::-1].astype(np.float32)
        self._anomalies = anomalies.astype(np.float32)
        self._variance = np.einsum("sn,sn->n", anomalies, anomalies)
        self._place = np.array(np.unravel_index(self.used, states.grid.shape))

    def gain(self, rows: np.ndarray, of: Lagging) -> "Gain":
        """The gain of sensors at some of the values that take part.

        rows : (M,) numbers among those values, rising; of : Lagging, with σ_o² of the readings
        """
        pairs, in_time = lag_pairs(self._times, of.lags), time_taper(np.array(of.lags), of.time_scale)
        taper, leading = self._taper(rows, of.space), self._leading[:, : of.space.modes]
        at_rows = self._anomalies[:, rows]
        kept = leading @ (leading.T @ at_rows)
        parts = [np.concatenate([part[own] for own in pairs.numbers], axis=1) for part in (kept, at_rows - kept)]
        observed = [part.astype(np.float64).T @ part.astype(np.float64) for part in parts]
        spread = np.zeros((2, len(self._times), parts[0].shape[1]), np.float32)
        spread[:, pairs.numbers[0]] = parts
        by_leading = spread[0].T @ leading @ (leading.T @ self._anomalies)
        covariance = (spread[1] - leading @ (leading.T @ spread[1])).T @ self._anomalies
        n_times = len(in_time)
        factor = (len(self._times) - 1) / (pairs.n_pairs - 1)
        for lag in range(n_times):
            own = slice(lag * len(rows), (lag + 1) * len(rows))
            covariance[own] *= taper
            covariance[own] += by_leading[own]
            covariance[own] *= np.float32(factor * in_time[0, lag])
        among = factor * np.kron(in_time, np.ones((len(rows), len(rows))))
        among *= observed[0] + np.tile(taper[:, rows], (n_times, n_times)) * observed[1]
        among = 0.5 * (among + among.T)
        among[np.diag_indices_from(among)] += of.space.variance
        lower = cholesky(among, lower=True)
        whitened = solve_triangular(lower.astype(np.float32), covariance, lower=True, overwrite_b=True)
        explained = np.einsum("mn,mn->n", whitened, whitened)
        std = np.sqrt(np.maximum(self._variance - explained, _LEAST * self._variance))
        return Gain(self.background, rows, of.lags, lower, whitened, std, taper.max(axis=0))

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

    background : (n,) x̄; rows : (M,) of the sensors; lags : (L,) of the readings of before [s]
    lower : (M (L + 1), M (L + 1)) L; whitened : (M (L + 1), n) L⁻¹ Cᵀ
    std : (n,) of the analysis; nearness : (n,) largest factor of distance to a sensor
    """

    background: np.ndarray
    rows: np.ndarray
    lags: tuple[float, ...]
    lower: np.ndarray
    whitened: np.ndarray
    std: np.ndarray
    nearness: np.ndarray

    def analyses(self, readings: np.ndarray) -> np.ndarray:
        """(L + 1, M, k) readings, those of now first, → (k, n) analyses."""
        innovations = (readings - self.background[self.rows][:, None]).reshape(len(self.lower), -1)
        weights = solve_triangular(self.lower, innovations, lower=True).astype(np.float32)
        return self.background.astype(np.float32) + weights.T @ self.whitened

    def inputs(self, states: StandardisedStates, numbers: np.ndarray, noise: np.ndarray, level: float) -> np.ndarray:
        """(k, 6 + L, n) inputs of a `models.zoo.refinement.Refinement`: of states, and analyses by each lag before.

        numbers : (k,) of the states
        noise : (S, M) of the readings of each state, in standard deviations; level : what they are drawn with

        ValueError if a state has none by twice the longest lag before it
        """
        sensors, analyses = states.used[self.rows], []
        for lag in (0.0, *self.lags):
            before = states_before(states.times, numbers, lag)
            analyses.append(self.analyses(readings_before(states, before, sensors, self.lags, noise)))
        inputs = np.zeros((len(numbers), 6 + len(self.lags), len(self.std)), np.float32)
        inputs[:, 0], inputs[:, 1], inputs[:, 2] = analyses[0], self.std, self.nearness
        inputs[:, 3, self.rows] = states.readings(numbers, sensors, noise[numbers]) - self.background[self.rows]
        inputs[:, 4, self.rows] = 1.0 / (1.0 + 10.0 * level)
        inputs[:, 5] = 1.0
        for channel, before in enumerate(analyses[1:], 6):
            inputs[:, channel] = before - analyses[0]
        return inputs


def with_history(states: StandardisedStates, numbers: np.ndarray, lags: Sequence[float]) -> np.ndarray:
    """Those of some states that have others by twice the longest lag before them, as inputs need."""
    if not lags:
        return numbers
    return numbers[states.times[numbers] - 2.0 * max(lags) >= states.times[0]]
