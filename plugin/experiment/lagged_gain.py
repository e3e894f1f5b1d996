"""Optimal interpolation with readings of other times: one gain from localised covariances of states some time apart.

With y_0 the readings of now and y_l those of the same sensors Δ_l ago, negative Δ_l of later ones,

    x_a = C_{x,(y_0, …, y_L)} (C_yy + R)⁻¹ (d_0, …, d_L)

whose covariances are those of :mod:`da.background.lagged`: tapered in space as those of `localised_gain`, and by
exp(−δ²/2T²) of the difference in time. With later readings it is a fixed-lag smoother. Covariances of the leading modes
may be those of a linear inverse model in place of the sample's; where there is nothing beside these modes, the analysis
is the Kalman smoother's of that model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from da.background.lag_pairs import LagPairs, lag_pairs, time_taper
from models.dynamics.linear import linear_dynamics
from plugin.case.configuration import ConfigurationError
from plugin.experiment.localised_gain import EVERYWHERE, Localising, SampleCovariance
from plugin.experiment.states import StandardisedStates


@dataclass(frozen=True)
class Lagging:
    """A setting.

    space : Localising
    lags : of the readings of other times [s], rising, negative for later ones; none for those of now alone
    time_scale : T [s]
    ridge : of the linear inverse model of the leading modes, in mean variances; None has the sample's covariances
    """

    space: Localising
    lags: tuple[float, ...]
    time_scale: float
    ridge: float | None = None


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
        parts: dict[tuple, tuple[tuple[np.ndarray, ...], ...]] = {}
        tapers: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}
        for setting in settings:
            space = setting.space
            chosen = (space.modes, setting.ridge)
            if chosen not in parts:
                parts.clear()
                parts[chosen] = self._parts(rows, at, pairs, space.modes)
                if setting.ridge is not None:
                    (_, rest), (_, rest_observed) = parts[chosen]
                    kept, kept_observed = self._modelled(rows, pairs.lags, space.modes, setting.ridge)
                    parts[chosen] = (kept, rest), (kept_observed, rest_observed)
            (kept, rest), (kept_observed, rest_observed) = parts[chosen]
            key = (space.horizontal, space.vertical)
            if key not in tapers:
                tapers.clear()
                tapers[key] = of.taper(space, rows, at), of.taper(space, rows, rows)
            (taper, observed_taper), in_time = tapers[key], time_taper(pairs.lags, setting.time_scale)
            m = len(rows)
            # what a model says of the leading modes needs no taper in time
            of_kept = in_time if setting.ridge is None else np.ones_like(in_time)
            whole = np.ones((m, m))
            observed = np.kron(of_kept, whole) * kept_observed
            observed += np.kron(in_time, whole) * np.tile(observed_taper, in_time.shape) * rest_observed
            observed = 0.5 * (observed + observed.T)
            observed[np.diag_indices_from(observed)] += space.variance
            weights = cho_solve(cho_factor(observed, lower=True), innovation)
            increments = of.anomalies[at] @ ((kept * np.repeat(of_kept[0], m)) @ weights)
            for lag, factor in enumerate(in_time[0]):
                columns = slice(lag * m, (lag + 1) * m)
                increments += (factor * taper * rest[:, columns]) @ weights[columns]
            yield setting, increments

    def _modelled(self, rows: np.ndarray, lags: np.ndarray, modes: int, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """As the first of each of `_parts`, by a model of the leading modes."""
        of = self.covariance
        leading = of.leading[:, :modes]
        between = path_covariances(leading.T * np.sqrt(len(leading) - 1), self.times, lags, ridge)
        observed = of.anomalies[rows] @ leading
        states = [leading @ (block @ observed.T) for block in between[0]]
        readings = [[observed @ block @ observed.T for block in row] for row in between]
        return np.concatenate(states, axis=1), np.block(readings)

    def _parts(
        self, rows: np.ndarray, at: np.ndarray | slice, pairs: LagPairs, modes: int
    ) -> tuple[tuple[np.ndarray, ...], ...]:
        """Covariances by leading modes and by the rest: of values wanted with readings, and of readings.

        Those of values wanted by leading modes are (S, M (L + 1)) weights of the states' anomalies.
        """
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
            states.append(factor * (inside if projected else of.anomalies[at] @ (spread - inside)))
        return tuple(states), tuple(readings)


def path_covariances(codes: np.ndarray, times: np.ndarray, lags: np.ndarray, ridge: float) -> np.ndarray:
    """Covariances of codes of now and of other times, along the paths of a linear inverse model.

    Paths begin at the earliest of the times, with the codes' own covariance, and follow z ← A z + ε.

    Parameters
    ----------
    codes : (m, S) of mean zero
    times : (S,) [s]
    lags : (L,) [s], negative for later times; multiples of the time between states
    ridge : of the model

    Returns
    -------
    (L + 1, L + 1, m, m), now first

    Raises
    ------
    ValueError
        if the lags are no multiples of the time between states, or as `linear_dynamics` and `lag_pairs`
    """
    step = float(np.min(np.diff(times), where=np.diff(times) > 0.0, initial=np.inf))
    after = np.concatenate([[0.0], -np.asarray(lags)]) / step
    number = np.round(after - after.min()).astype(int)
    if np.any(np.abs(number - (after - after.min())) > 1e-2):
        raise ValueError(
            f"lags {', '.join(f'{lag:g}' for lag in lags)} s, expected multiples of the {step:g} s of a step"
        )
    late, early = lag_pairs(times, [step]).numbers
    model = linear_dynamics(codes[:, early], codes[:, late], ridge)
    variance, power = [codes @ codes.T / codes.shape[1]], [np.eye(len(codes))]
    for _ in range(number.max()):
        variance.append(model.matrix @ variance[-1] @ model.matrix.T + model.noise)
        power.append(model.matrix @ power[-1])
    return np.array(
        [[power[i - j] @ variance[j] if i >= j else variance[i] @ power[j - i].T for j in number] for i in number]
    )


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
        near = states_before(states.times, numbers, lag)
        parts.append(states.readings(near, sensors, noise[near]).T)
    return np.stack(parts)


def refuse_lags(states: StandardisedStates, lags: Sequence[float], key: str) -> None:
    """Raise ConfigurationError, with the key of the lags, if the states are of several runs or no such lags apart."""
    if not lags:
        return
    times = states.times[: states.n_training]
    if np.any(np.diff(states.times) <= 0.0):
        raise ConfigurationError(f"{key}: the states are of several runs, expected those of one; leave the lags out")
    try:
        lag_pairs(times, lags)
    except ValueError as error:
        raise ConfigurationError(f"{key}: {error}") from error


def states_before(times: np.ndarray, numbers: np.ndarray, lag: float) -> np.ndarray:
    """(k,) numbers of the states a lag before some; times (S,) of all [s], rising unless the lag is zero.

    ValueError if one has none there
    """
    if lag == 0.0:
        return numbers
    wanted, slack = times[numbers] - lag, 1e-3 * np.diff(times).min()
    near = np.clip(np.searchsorted(times, wanted - slack), 0, len(times) - 1)
    if np.any(np.abs(times[near] - wanted) > slack):
        raise ValueError(f"a state has none {lag:g} s before it")
    return near
