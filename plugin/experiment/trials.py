"""Trials of linear analyses at few sensors: states that are analysed, with covariances of others, and what fits best.

Folds are blocks in time of the training states, each with sensors of its own, analysed with covariances of the other
blocks and scored at some of the values.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np

from plugin.case.experiment import LocalisedSection
from plugin.experiment.lagged_gain import LaggedCovariance, Lagging, readings_before
from plugin.experiment.localised_gain import EVERYWHERE, Localising, SampleCovariance
from plugin.experiment.states import StandardisedStates

_NOISE, _VALUES = 9, 10  # streams of random numbers
_Setting = TypeVar("_Setting")


def folds(
    states: StandardisedStates, settings: LocalisedSection, before: float, after: float = 0.0
) -> list[tuple[np.ndarray, SampleCovariance]]:
    """For each block in time the states that are analysed, and covariances of the others.

    before, after : how long before a state and after it readings are used [s]; states without are left out
    """
    end = states.times[states.n_training - 1]
    return [
        (
            withheld[_within(states.times[withheld], states.times[0], end, before, after)],
            SampleCovariance(states, known),
        )
        for withheld, known in states.folds(settings.folds, max(settings.gap, before, after), settings.states)
    ]


def _within(times: np.ndarray, first: float, last: float, before: float, after: float) -> np.ndarray:
    return ((times - before >= first) | (before == 0.0)) & ((times + after <= last) | (after == 0.0))


def fold_trials(
    states: StandardisedStates,
    settings: LocalisedSection,
    blocks: Sequence[tuple[np.ndarray, SampleCovariance]],
    count: int,
    noise: float,
    seeds: int,
) -> list["Trial"]:
    """A trial of each of the `folds`, with sensors of its own, scored at some of the values."""
    some = some_values(len(states.used), settings.values)
    return [
        Trial(covariance, states, numbers, count, noise, range(fold % seeds, fold % seeds + 1), some)
        for fold, (numbers, covariance) in enumerate(blocks)
    ]


def some_values(n_used: int, count: int) -> np.ndarray | slice:
    """Random ones of the values that take part, all where there are no more."""
    if count >= n_used:
        return EVERYWHERE
    return np.sort(np.random.default_rng(_VALUES).choice(n_used, count, replace=False))


def readings_noise(n_states: int, numbers: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(S, M) noise of all states' readings, in its standard deviations, when those with some numbers are analysed.

    A state's is one draw, also where its readings are the earlier ones of several states.
    """
    drawn = np.random.default_rng((_NOISE, seed, count, 1)).standard_normal((n_states, count))
    drawn[numbers] = np.random.default_rng((_NOISE, seed, count)).standard_normal((count, len(numbers))).T
    return drawn


def candidates(settings: LocalisedSection) -> list[Localising]:
    """All settings that are compared; those of one taper follow one another."""
    plain = [Localising(None, None, 0, variance) for variance in settings.variances]
    tapered = [
        Localising(*lengths, modes, variance)
        for lengths in product(settings.horizontal, settings.vertical)
        for modes in settings.modes
        for variance in settings.variances
    ]
    return plain + tapered


@dataclass(frozen=True)
class Trial:
    """States that are analysed, with covariances of others, and how they are observed.

    numbers : of the states
    count : of sensors; noise of their readings, in standard deviations; seeds of their places and of the noise
    at : the values that are scored, of those that take part
    """

    covariance: SampleCovariance
    states: StandardisedStates
    numbers: np.ndarray
    count: int
    noise: float
    seeds: range
    at: np.ndarray | slice

    def errors(self, settings: Sequence[Localising]) -> list[dict[Localising, float]]:
        """For each seed {setting: mean of ‖x_a − x_t‖ / ‖x_t‖ over states}, as the other experiments score."""
        return [
            self._scored(self.covariance.analyses(sensors, self._readings(sensors, seed, ())[0], settings, self.at))
            for seed, sensors in self._sensors()
        ]

    def lagged_errors(self, settings: Sequence[Lagging]) -> list[dict[Lagging, float]]:
        """The same with earlier readings beside those of now; all settings have the same lags."""
        lagged = LaggedCovariance(self.covariance, self.states.times)
        return [
            self._scored(lagged.analyses(sensors, self._readings(sensors, seed, settings[0].lags), settings, self.at))
            for seed, sensors in self._sensors()
        ]

    def _sensors(self) -> Iterator[tuple[int, np.ndarray]]:
        return ((seed, self.states.sensors(self.count, seed)) for seed in self.seeds)

    def _readings(self, sensors: np.ndarray, seed: int, lags: tuple[float, ...]) -> np.ndarray:
        # the background is the mean of the states that covariances are made of
        drawn = readings_noise(len(self.states.rows), self.numbers, self.count, seed)
        readings = readings_before(self.states, self.numbers, sensors, lags, self.noise * drawn)
        return readings - self.covariance.mean[np.searchsorted(self.covariance.used, sensors)][:, None]

    def _scored(self, analyses: Iterable[tuple[_Setting, np.ndarray]]) -> dict[_Setting, float]:
        values, mean = self.covariance.used[self.at], self.covariance.mean[self.at, None]
        return {of: float(np.mean(self.states.errors(mean + one, self.numbers, values))) for of, one in analyses}


def best(errors: Sequence[dict[Localising, float]]) -> list[Localising]:
    """The settings of least validation error, without and with localisation."""
    mean = means(errors)
    return [min((of for of in mean if of.localised == kind), key=mean.__getitem__) for kind in (False, True)]


def best_lagged(
    settings: LocalisedSection, sets: Sequence[Sequence[float]], variance: float, trials: Sequence[Trial]
) -> tuple[Lagging, list[float]]:
    """Lengths and modes of least validation error at one σ_o² and the first of some sets of lags, then the rest.

    Returns
    -------
    the setting, its error in each fold
    """
    first, scale = tuple(sorted(sets[0])), settings.time_scales[len(settings.time_scales) // 2]
    places = [
        Lagging(Localising(*lengths, modes, variance), first, scale)
        for modes in settings.modes
        for lengths in product(settings.horizontal, settings.vertical)
    ]
    mean = means(lagged_errors(trials, places))
    space = min(mean, key=mean.__getitem__).space
    errors: list[dict[Lagging, float]] = [{} for _ in trials]
    for lags in sets:
        times = product(settings.time_scales, settings.variances)
        tried = [Lagging(replace(space, variance=one), tuple(sorted(lags)), scale) for scale, one in times]
        for known, more in zip(errors, lagged_errors(trials, tried), strict=True):
            known |= more
    return least(errors)


def least(errors: Sequence[dict[_Setting, float]]) -> tuple[_Setting, list[float]]:
    """The setting of least mean error, and its error in each fold."""
    mean = means(errors)
    chosen = min(mean, key=mean.__getitem__)
    return chosen, [one[chosen] for one in errors]


def lagged_errors(trials: Sequence[Trial], settings: Sequence[Lagging]) -> list[dict[Lagging, float]]:
    """{setting: error} of each trial and seed; all settings have the same lags."""
    return [one for trial in trials for one in trial.lagged_errors(settings)]


def means(errors: Sequence[dict[_Setting, float]]) -> dict[_Setting, float]:
    """{setting: mean over folds and seeds}."""
    return {of: float(np.mean([one[of] for one in errors])) for of in errors[0]}
