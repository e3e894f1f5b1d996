"""Optimal interpolation with readings of before: one gain from localised sample covariances of states some time apart.

With y_0 the readings of now and y_l those of the same sensors Δ_l ago,

    x_a = C_{x,(y_0, …, y_L)} (C_yy + R)⁻¹ (d_0, …, d_L)

whose covariances are those of :mod:`da.background.lagged`: tapered in space as those of `localised_gain`, and by
exp(−δ²/2T²) of the difference in time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from da.background.lag_pairs import LagPairs, lag_pairs, time_taper
from plugin.experiment.localised_gain import EVERYWHERE, Localising, SampleCovariance
from plugin.experiment.states import StandardisedStates


@dataclass(frozen=True)
class Lagging:
    """A setting.

    space : Localising
    lags : of the readings of before [s], rising; none for those of now alone
    time_scale : T [s]
    """

    space: Localising
    lags: tuple[float, ...]
    time_scale: float


class LaggedCovariance:
    """Covariances of states with the readings of now and before, from standardised states.

    covariance : SampleCovariance of some states, all of one run
    times : of all states [s]
    """

    def __init__(self, covariance: SampleCovariance, times: np.ndarray) -> None:
        self.covariance, self.times = covariance, times[covariance.numbers]

    def analyses(
        self,
        sensors: np.ndarray,
        readings: np.ndarray,
        settings: Sequence[Lagging],
        at: np.ndarray | slice = EVERYWHERE,
    ) -> Iterator[tuple[Lagging, np.ndarray]]:
        """Increments of many states with each setting; all of them have the same lags.

        sensors : (M,) numbers of values of a state; readings : (L + 1, M, k) innovations, those of now first
        at : which of the values that take part are wanted

        Yields
        ------
        the setting, (values wanted, k) increments
        """
        of, rows = self.covariance, np.searchsorted(self.covariance.used, sensors)
        pairs = lag_pairs(self.times, settings[0].lags)
        innovation = readings.reshape(-1, readings.shape[2])
        parts: dict[int, tuple[tuple[np.ndarray, ...], ...]] = {}
        tapers: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        for setting in settings:
            space = setting.space
            if space.modes not in parts:
                parts.clear()
                parts[space.modes] = self._parts(rows, at, pairs, space.modes)
            (kept, rest), (kept_observed, rest_observed) = parts[space.modes]
            key = (space.horizontal, space.vertical)
            if key not in tapers:
                tapers.clear()
                tapers[key] = of.taper(space, rows, at), of.taper(space, rows, rows)
            (taper, observed_taper), in_time = tapers[key], time_taper(pairs.lags, setting.time_scale)
            m = len(rows)
            observed = np.kron(in_time, np.ones((m, m))) * (
                kept_observed + np.tile(observed_taper, in_time.shape) * rest_observed
            )
            observed = 0.5 * (observed + observed.T)
            observed[np.diag_indices_from(observed)] += space.variance
            weights = cho_solve(cho_factor(observed, lower=True), innovation)
            increments = np.zeros((len(taper), innovation.shape[1]))
            for lag, factor in enumerate(in_time[0]):
                columns = slice(lag * m, (lag + 1) * m)
                gain = kept[:, columns] + taper * rest[:, columns]
                increments += factor * (gain @ weights[columns])
            yield setting, increments

    def _parts(
        self, rows: np.ndarray, at: np.ndarray | slice, pairs: LagPairs, modes: int
    ) -> tuple[tuple[np.ndarray, ...], ...]:
        """Covariances by leading modes and by the rest: of values wanted with readings, and of readings."""
        of = self.covariance
        n_samples, factor = of.anomalies.shape[1], (of.anomalies.shape[1] - 1) / (pairs.n_pairs - 1)
        leading = of.leading[:, :modes]
        at_rows = of.anomalies[rows]
        by_leading = (at_rows @ leading) @ leading.T
        states, readings = [], []
        for part, projected in ((by_leading, True), (at_rows - by_leading, False)):
            lagged = np.concatenate([part[:, numbers] for numbers in pairs.numbers])  # (M (L + 1), P)
            readings.append(factor * (lagged @ lagged.T))
            spread = np.zeros((n_samples, len(lagged)))
            spread[pairs.numbers[0]] = lagged.T
            inside = leading @ (leading.T @ spread)
            states.append(factor * (of.anomalies[at] @ (inside if projected else spread - inside)))
        return tuple(states), tuple(readings)


def readings_before(
    states: StandardisedStates, numbers: np.ndarray, sensors: np.ndarray, lags: Sequence[float], noise: np.ndarray
) -> np.ndarray:
    """(L + 1, M, k) readings of the states and of those by each lag before them.

    numbers : (k,) of the states
    noise : (S, M) of the readings of each state, in standard deviations

    ValueError if a state has none by a lag before it
    """
    parts = []
    for lag in (0.0, *lags):
        wanted = states.times[numbers] - lag
        slack = 1e-3 * np.diff(states.times).min()
        near = np.clip(np.searchsorted(states.times, wanted - slack), 0, len(states.times) - 1)
        if np.any(np.abs(states.times[near] - wanted) > slack):
            raise ValueError(f"a state has none {lag:g} s before it")
        parts.append(states.readings(near, sensors, noise[near]).T)
    return np.stack(parts)
