"""States in the middle of a window, analysed with all of its readings: smoothers beside analyses of one time.

Sensors report whenever there is a state. Analysed is the state of one time: by the readings of then; by earlier ones
as well; by earlier and later ones, a fixed-lag smoother with one gain from localised covariances of states some time
apart; and by the Kalman smoother of a linear inverse model of the leading modes, where what lies outside these modes
has the localised gain, of then alone or of the whole window. Settings are chosen by blocks in time of the training
states as in `localised`, whose settings count here. All test states that have a whole window are then analysed once.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import WindowSection
from plugin.experiment.experiments.rows import Row, draw_by_sensors
from plugin.experiment.lagged_gain import Lagging
from plugin.experiment.localised_gain import EVERYWHERE, SampleCovariance
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import spread
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.trials import Trial, best, best_lagged, candidates, fold_trials, folds, lagged_errors, least

_NAMES = ("localised", "with earlier readings", "fixed-lag smoother", "Kalman smoother of the leading modes")
_ALONE = 0.1  # T in time steps: nothing beside the readings of then


def window(inputs: ExperimentInputs) -> Result:
    """Errors of the state in the middle of a window, for each noise and number of sensors.

    ConfigurationError if lags are no multiples of the time between states, or no test state has a whole window
    """
    states, of, own = inputs.states, inputs.settings.localised, inputs.settings.window
    seeds = range(inputs.protocol.seeds)
    every_lag = [0.0, *(lag for lags in [*of.lags, *own.lags] for lag in lags)]
    before, after = max(every_lag), -min(every_lag)
    blocks = folds(states, of, before, after)
    every = SampleCovariance(states, np.arange(states.n_training))
    test = states.test()
    test = test[states.times[test] + after <= states.times[-1]]
    step = _step(inputs, [*of.lags, *own.lags])
    if len(test) == 0:
        raise ConfigurationError(
            f"experiment.window.lags: no test state has another {after:g} s after it; give shorter"
        )
    rows: list[Row] = []
    for noise, count in product(of.noise, sorted(of.sensors)):
        inputs.progress.say(f"  {count} sensors, noise {noise:g}")
        validated = fold_trials(states, of, blocks, count, noise, len(seeds))
        errors = [one for trial in validated for one in trial.errors(candidates(of))]
        tapered = best(errors)[1]
        scored = [(Lagging(tapered, (), np.inf), [one[tapered] for one in errors])]
        scored += [
            best_lagged(of, sets, tapered.variance, validated) for sets in (of.lags or [[]], own.lags) if sets[0]
        ]
        scored.append(_kalman(own, scored[-1][0], validated, step))
        names = _NAMES if of.lags else (_NAMES[0], *_NAMES[2:])
        tested = Trial(every, states, test, count, noise, seeds, EVERYWHERE)
        for name, (setting, known) in zip(names, scored, strict=True):
            by_seed = [one[setting] for one in tested.lagged_errors([setting])]
            rows.append(_row(name, setting, noise, count, by_seed, known))
            inputs.progress.say(f"  {name}: error {rows[-1]['error']:.4g}")
    columns = {
        "system": "system", "noise": "noise", "count": "M", "error": "error", "horizontal": "L_h [m]",
        "vertical": "L_z [m]", "modes": "k", "ridge": "ridge", "variance": "σ_o²", "lags": "lags [s]",
        "time_scale": "T [s]", "validation": f"error in {of.folds} folds",
    }  # fmt: skip
    title = f"The state in the middle of a window, {len(test)} test states"
    styles = dict(zip(_NAMES, ("--", ":", "-", "-."), strict=True))
    return Result("window", (ScoreTable(title, columns, rows),), lambda figure: draw_by_sensors(figure, rows, styles))


def _step(inputs: ExperimentInputs, sets: Sequence[Sequence[float]]) -> float:
    """Time between states [s], of which all lags are multiples."""
    apart = np.diff(inputs.states.times)
    step = float(apart.min())
    lags = np.array(sorted({lag for lags in sets for lag in lags}))
    if not step > 0.0 or np.any(np.abs(apart - step) > 1e-3 * step):
        raise ConfigurationError("experiment.states: times are not evenly spaced; window needs them so")
    if np.any(np.abs(lags / step - np.round(lags / step)) > 1e-3):
        raise ConfigurationError(f"experiment.window.lags: {lags.tolist()}, expected multiples of a step's {step:g} s")
    return step


def _kalman(own: WindowSection, smoother: Lagging, trials: Sequence[Trial], step: float) -> tuple[Lagging, list[float]]:
    """Modes and ridge of the model of least validation error, beside the fixed-lag smoother's own settings."""
    tried = [
        replace(smoother, space=replace(smoother.space, modes=modes), ridge=ridge, time_scale=scale)
        for modes, ridge in product(own.modes, own.ridges)
        for scale in (_ALONE * step, smoother.time_scale)
    ]
    return least(lagged_errors(trials, tried))


def _row(
    name: str, of: Lagging, noise: float, count: int, by_seed: Sequence[float], known: Sequence[float]
) -> dict[str, Any]:
    space = of.space
    return {
        "system": name, "noise": noise, "count": count, **spread("error", np.array(by_seed)),
        "horizontal": space.horizontal, "vertical": space.vertical, "modes": space.modes, "ridge": of.ridge,
        "variance": space.variance, "lags": " ".join(f"{lag:g}" for lag in of.lags) or None,
        "time_scale": of.time_scale if of.lags else None, **spread("validation", np.array(known)),
    }  # fmt: skip
