"""Few sensors and linear analyses: the sample's covariances as they are, localised, and with readings of before.

Lengths, leading modes and σ_o² are chosen by cross-validation: blocks in time of the training states, each with sensors
of its own, are analysed with covariances of the other blocks and scored at some of the values. With readings of before,
lengths and modes are chosen first, at the σ_o² of the analysis without them, and then σ_o², lags and their time scale.
The test states are analysed once, all of them, with covariances of all training states.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np

from plugin.case.experiment import LocalisedSection
from plugin.experiment.experiments.rows import Row, draw_by_sensors
from plugin.experiment.lagged_gain import LaggedCovariance, Lagging, readings_before
from plugin.experiment.localised_gain import EVERYWHERE, Localising, SampleCovariance
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import spread
from plugin.experiment.states import ExperimentInputs, StandardisedStates

_NOISE, _VALUES = 9, 10  # streams of random numbers
_NAMES = ("sample covariance", "localised", "localised, with earlier readings")
_Setting = TypeVar("_Setting")


def localised(inputs: ExperimentInputs) -> Result:
    """Errors against the number of sensors, for each noise of the readings."""
    states, settings, seeds = inputs.states, inputs.settings.localised, range(inputs.protocol.seeds)
    longest = max((max(lags) for lags in settings.lags), default=0.0)
    folds = [
        (
            withheld[(states.times[withheld] - longest >= states.times[0]) | (longest == 0.0)],
            SampleCovariance(states, known),
        )
        for withheld, known in states.folds(settings.folds, max(settings.gap, longest), settings.states)
    ]
    every = SampleCovariance(states, np.arange(states.n_training))
    some = some_values(len(states.used), settings.values)
    rows: list[Row] = []
    for noise, count in product(settings.noise, sorted(settings.sensors)):
        inputs.progress.say(f"  {count} sensors, noise {noise:g}")
        tested = _Trial(every, states, states.test(), count, noise, seeds, EVERYWHERE)
        validated = [
            _Trial(covariance, states, numbers, count, noise, range(fold % len(seeds), fold % len(seeds) + 1), some)
            for fold, (numbers, covariance) in enumerate(folds)
        ]
        errors = [one for trial in validated for one in trial.errors(_candidates(settings))]
        plain, tapered = _best(errors)
        scored = [(Lagging(of, (), np.inf), [one[of] for one in errors]) for of in (plain, tapered)]
        if settings.lags:
            scored.append(_best_lagged(settings, tapered.variance, validated))
        for name, (of, known) in zip(_NAMES, scored, strict=False):
            space, lags = of.space, " ".join(f"{lag:g}" for lag in of.lags)
            by_seed = (
                [one[of] for one in tested.lagged_errors([of])]
                if lags
                else [one[space] for one in tested.errors([space])]
            )
            row: dict[str, Any] = {
                "system": name, "noise": noise, "count": count, **spread("error", np.array(by_seed)),
                "horizontal": space.horizontal, "vertical": space.vertical,
                "modes": space.modes if space.localised else None, "variance": space.variance,
                "lags": lags or None, "time_scale": of.time_scale if lags else None,
                **spread("validation", np.array(known)),
            }  # fmt: skip
            inputs.progress.say(f"  {name}: error {row['error']:.4g}")
            rows.append(row)
    columns = {
        "system": "system", "noise": "noise", "count": "M", "error": "error", "horizontal": "L_h [m]",
        "vertical": "L_z [m]", "modes": "k", "variance": "σ_o²",
    }  # fmt: skip
    if settings.lags:
        columns |= {"lags": "lags [s]", "time_scale": "T [s]"}
    columns["validation"] = f"error in {settings.folds} folds"
    return Result(
        "localised",
        (ScoreTable("Few sensors, linear analyses", columns, rows),),
        lambda f: draw_by_sensors(f, rows, dict(zip(_NAMES, ("--", "-", ":"), strict=True))),
    )


def some_values(n_used: int, count: int) -> np.ndarray | slice:
    """Random ones of the values that take part, all where there are no more."""
    if count >= n_used:
        return EVERYWHERE
    return np.sort(np.random.default_rng(_VALUES).choice(n_used, count, replace=False))


def _candidates(settings: LocalisedSection) -> list[Localising]:
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
class _Trial:
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
        # the readings of a state are one draw, also where they are the earlier ones of several states; the background
        # is the mean of the states that covariances are made of
        shape = len(self.states.rows), self.count
        drawn = np.random.default_rng((_NOISE, seed, self.count, 1)).standard_normal(shape)
        own = np.random.default_rng((_NOISE, seed, self.count)).standard_normal((self.count, len(self.numbers)))
        drawn[self.numbers] = own.T
        readings = readings_before(self.states, self.numbers, sensors, lags, self.noise * drawn)
        return readings - self.covariance.mean[np.searchsorted(self.covariance.used, sensors)][:, None]

    def _scored(self, analyses: Iterable[tuple[_Setting, np.ndarray]]) -> dict[_Setting, float]:
        values, mean = self.covariance.used[self.at], self.covariance.mean[self.at, None]
        return {of: float(np.mean(self.states.errors(mean + one, self.numbers, values))) for of, one in analyses}


def _best(errors: Sequence[dict[Localising, float]]) -> list[Localising]:
    """The settings of least validation error, without and with localisation."""
    mean = _means(errors)
    return [min((of for of in mean if of.localised == kind), key=mean.__getitem__) for kind in (False, True)]


def _best_lagged(settings: LocalisedSection, variance: float, trials: Sequence[_Trial]) -> tuple[Lagging, list[float]]:
    """Lengths and modes of least validation error at one σ_o² and the first lags, then the rest at these.

    Returns
    -------
    the setting, its error in each fold
    """
    first, scale = tuple(sorted(settings.lags[0])), settings.time_scales[len(settings.time_scales) // 2]
    places = [
        Lagging(Localising(*lengths, modes, variance), first, scale)
        for modes in settings.modes
        for lengths in product(settings.horizontal, settings.vertical)
    ]
    mean = _means(_lagged_errors(trials, places))
    space = min(mean, key=mean.__getitem__).space
    errors: list[dict[Lagging, float]] = [{} for _ in trials]
    for lags in settings.lags:
        times = product(settings.time_scales, settings.variances)
        tried = [Lagging(replace(space, variance=one), tuple(sorted(lags)), scale) for scale, one in times]
        for known, more in zip(errors, _lagged_errors(trials, tried), strict=True):
            known |= more
    mean = _means(errors)
    best = min(mean, key=mean.__getitem__)
    return best, [one[best] for one in errors]


def _lagged_errors(trials: Sequence[_Trial], settings: Sequence[Lagging]) -> list[dict[Lagging, float]]:
    return [one for trial in trials for one in trial.lagged_errors(settings)]


def _means(errors: Sequence[dict[_Setting, float]]) -> dict[_Setting, float]:
    """{setting: mean over folds and seeds}."""
    return {of: float(np.mean([one[of] for one in errors])) for of in errors[0]}
