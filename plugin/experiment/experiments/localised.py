"""Few sensors and linear analyses: the sample's covariances as they are, and localised.

Lengths, leading modes and σ_o² of both are chosen by validation: the last tenth of the training states, analysed with
covariances of those before. Then the test states are analysed once, all of them, with covariances of all training
states.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from plugin.case.experiment import LocalisedSection
from plugin.experiment.experiments.rows import Row
from plugin.experiment.localised_gain import Localising, SampleCovariance
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.states import ExperimentInputs, StandardisedStates

_NOISE = 9  # stream of random numbers
_NAMES = ("sample covariance", "localised")


def localised(inputs: ExperimentInputs) -> Result:
    """Errors against the number of sensors, for each noise of the readings."""
    states, settings, seeds = inputs.states, inputs.settings.localised, range(inputs.protocol.seeds)
    validation = max(1, round(0.1 * states.n_training))
    before = np.arange(states.n_training - validation)
    fitted = SampleCovariance(states, before), SampleCovariance(states, np.arange(states.n_training))
    parts = np.arange(states.n_training - validation, states.n_training), states.test()
    rows: list[Row] = []
    for noise, count in product(settings.noise, sorted(settings.sensors)):
        inputs.progress.say(f"  {count} sensors, noise {noise:g}")
        errors = [_errors(fitted[0], states, parts[0], count, seed, noise, _candidates(settings)) for seed in seeds]
        for name, of in zip(_NAMES, _best(errors), strict=True):
            scores = [_errors(fitted[1], states, parts[1], count, seed, noise, [of])[of] for seed in seeds]
            row: dict[str, Any] = {
                "system": name, "noise": noise, "count": count, "error": float(np.mean(scores)),
                "error_std": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                "horizontal": of.horizontal, "vertical": of.vertical, "modes": of.modes if of.localised else None,
                "variance": of.variance,
            }  # fmt: skip
            inputs.progress.say(f"  {name}: error {row['error']:.4g}")
            rows.append(row)
    columns = {
        "system": "system", "noise": "noise", "count": "M", "error": "error", "horizontal": "L_h [m]",
        "vertical": "L_z [m]", "modes": "k", "variance": "σ_o²",
    }  # fmt: skip
    return Result("localised", (ScoreTable("Few sensors, linear analyses", columns, rows),), lambda f: _draw(f, rows))


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


def _errors(
    covariance: SampleCovariance,
    states: StandardisedStates,
    numbers: np.ndarray,
    count: int,
    seed: int,
    noise: float,
    settings: Sequence[Localising],
) -> dict[Localising, float]:
    """{setting: mean of ‖x_a − x_t‖ / ‖x_t‖ over states}, as the other experiments score."""
    sensors = states.sensors(count, seed)
    truth = states.rows[numbers][:, covariance.used].astype(np.float64).T
    drawn = np.random.default_rng((_NOISE, seed, count)).standard_normal((count, len(numbers)))
    readings = truth[np.searchsorted(covariance.used, sensors)] + noise * drawn
    size = np.linalg.norm(truth, axis=0)
    return {
        of: float(np.mean(np.linalg.norm(increment - truth, axis=0) / size))
        for of, increment in covariance.analyses(sensors, readings, settings)
    }


def _best(errors: Sequence[dict[Localising, float]]) -> list[Localising]:
    """The settings of least validation error, without and with localisation."""
    mean = {of: float(np.mean([one[of] for one in errors])) for of in errors[0]}
    return [min((of for of in mean if of.localised == kind), key=mean.__getitem__) for kind in (False, True)]


def _draw(figure: Figure, rows: list[Row]) -> None:
    axes = figure.subplots()
    for noise in dict.fromkeys(row["noise"] for row in rows):
        for name in _NAMES:
            own = [row for row in rows if row["noise"] == noise and row["system"] == name]
            label = name if not noise else f"{name}, noise {noise:g} σ"
            spread = [row["error_std"] or 0.0 for row in own]
            axes.errorbar(
                [row["count"] for row in own], [row["error"] for row in own], spread,
                marker="o", markersize=3, linestyle="-" if name == _NAMES[1] else "--", label=label,
            )  # fmt: skip
    axes.set(xlabel="number of sensors M", ylabel="DA MSE", xscale="log", ylim=(0.0, None))
    axes.legend(fontsize="small")
