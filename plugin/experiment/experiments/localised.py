"""Few sensors and linear analyses: the sample's covariances as they are, localised, and with readings of before.

Lengths, leading modes and σ_o² are chosen by cross-validation: blocks in time of the training states, each with sensors
of its own, are analysed with covariances of the other blocks and scored at some of the values. With readings of before,
lengths and modes are chosen first, at the σ_o² of the analysis without them, and then σ_o², lags and their time scale.
The test states are analysed once, all of them, with covariances of all training states.
"""

from itertools import product
from typing import Any

import numpy as np

from plugin.experiment.experiments.rows import Row, draw_by_sensors
from plugin.experiment.lagged_gain import Lagging, refuse_lags
from plugin.experiment.localised_gain import EVERYWHERE, SampleCovariance
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import spread
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.trials import Trial, best, best_lagged, candidates, fold_trials, folds

_NAMES = ("sample covariance", "localised", "localised, with earlier readings")
LINEAR_STYLES = dict(zip(_NAMES, ("--", "-", ":"), strict=True))


def localised(inputs: ExperimentInputs) -> Result:
    """Errors against the number of sensors, for each noise of the readings."""
    settings, (rows, _) = inputs.settings.localised, localised_rows(inputs)
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
        lambda f: draw_by_sensors(f, rows, LINEAR_STYLES),
    )


def localised_rows(inputs: ExperimentInputs) -> tuple[list[Row], dict[tuple[float, int], Lagging]]:
    """A row for each system, noise and number of sensors; and the setting of the last system for each (noise, number).

    ConfigurationError if a set of lags does not fit the states, or they are too few for the folds
    """
    states, settings, seeds = inputs.states, inputs.settings.localised, range(inputs.protocol.seeds)
    for offered in settings.lags:
        refuse_lags(states, offered, "experiment.localised.lags")
    longest = max((max(lags) for lags in settings.lags), default=0.0)
    blocks = folds(states, settings, longest)
    every = SampleCovariance(states, np.arange(states.n_training))
    rows: list[Row] = []
    chosen: dict[tuple[float, int], Lagging] = {}
    for noise, count in product(settings.noise, sorted(settings.sensors)):
        inputs.progress.say(f"  {count} sensors, noise {noise:g}")
        tested = Trial(every, states, states.test(), count, noise, seeds, EVERYWHERE)
        validated = fold_trials(states, settings, blocks, count, noise, len(seeds))
        errors = [one for trial in validated for one in trial.errors(candidates(settings))]
        plain, tapered = best(errors)
        scored = [(Lagging(of, (), np.inf), [one[of] for one in errors]) for of in (plain, tapered)]
        if settings.lags:
            scored.append(best_lagged(settings, settings.lags, tapered.variance, validated))
        chosen[noise, count] = scored[-1][0]
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
    return rows, chosen
