"""Few sensors: the best linear analyses, and the same refined by a network.

The linear ones are those of `localised`, with its settings, chosen by blocks in time of the training states. The
network refines the last of them, with earlier readings if there are any. It has learned from the training states before
the last tenth, with covariances of other periods. The test states are analysed once, all of them, with covariances of
all training states.
"""

from typing import Any

import numpy as np
import torch

from plugin.case.configuration import ConfigurationError
from plugin.experiment.experiments.localised import LINEAR_STYLES, localised_rows
from plugin.experiment.experiments.rows import Row, draw_by_sensors
from plugin.experiment.lagged_gain import Lagging, refuse_lags
from plugin.experiment.refinement import BATCH, Refined, relative_errors, scored_truth, trained_refinement
from plugin.experiment.refinement_inputs import LaggedAnalyses, with_history
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import spread
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.trials import readings_noise

_REFINED, _STATES = "refined", 32  # states whose inputs are in memory at once


def refined(inputs: ExperimentInputs) -> Result:
    """Errors of linear and of refined analyses against the number of sensors, for each noise of the readings."""
    settings, networks, states = inputs.settings.refined, inputs.settings.networks, inputs.states
    if len(states.variables) != 1:
        raise ConfigurationError(f"variables: {len(states.variables)} variables; the experiment refined takes one")
    states.sensors(max(settings.sensors))  # too many must raise before the training
    lags = sorted(settings.lags)
    refuse_lags(states, lags, "experiment.refined.lags")
    if len(with_history(states, states.test(), lags)) < len(states.test()):
        raise ConfigurationError("experiment.refined.lags: a test state has none by twice the longest before it")
    offered = {"sensors": settings.sensors, "noise": settings.noise, "lags": [lags] if lags else []}
    linear, chosen = localised_rows(inputs.changed(localised=inputs.settings.localised.model_copy(update=offered)))
    trained = [
        trained_refinement(states, chosen, settings, seed, networks.folder, inputs.progress)
        for seed in range(networks.seeds)
    ]
    known, rows = LaggedAnalyses(states, np.arange(states.n_training)), list[Row]()
    for (noise, count), of in chosen.items():
        rows += [row for row in linear if (row["noise"], row["count"]) == (noise, count)]
        for training, errors in enumerate(_errors(known, trained, of, count, noise, inputs.protocol.seeds)):
            row: dict[str, Any] = {
                "system": _REFINED, "training": training, "noise": noise, "count": count, **spread("error", errors)
            }  # fmt: skip
            inputs.progress.say(f"  {count} sensors, noise {noise:g}, {_REFINED}: error {row['error']:.4g}")
            rows.append({**dict.fromkeys(linear[0]), **row})
    columns = {
        "system": "system", "training": "training", "noise": "noise", "count": "M", "error": "error",
        "horizontal": "L_h [m]", "vertical": "L_z [m]", "modes": "k", "variance": "σ_o²", "lags": "lags [s]",
        "time_scale": "T [s]",
    }  # fmt: skip
    table = [{"training": None, **row} for row in rows]
    first = [row for row in table if not row["training"]]
    styles = {**LINEAR_STYLES, _REFINED: "-."}
    return Result(
        "refined", (ScoreTable("Few sensors, refined", columns, table),), lambda f: draw_by_sensors(f, first, styles)
    )


def _errors(
    known: LaggedAnalyses, trained: list[Refined], of: Lagging, count: int, noise: float, seeds: int
) -> np.ndarray:
    """(trainings, seeds) mean errors of the test states, with the sensors and readings of `localised`."""
    states, errors = known.states, np.zeros((len(trained), seeds))
    tests = states.test()
    for seed in range(seeds):
        gain = known.gain(np.searchsorted(known.used, states.sensors(count, seed)), of)
        drawn = noise * readings_noise(len(states.rows), tests, count, seed)
        for numbers in np.array_split(tests, -(-len(tests) // _STATES)):
            given = torch.from_numpy(gain.inputs(states, numbers, drawn, noise))
            truth = torch.from_numpy(scored_truth(states, numbers))
            for batch in torch.arange(len(numbers)).split(BATCH):
                for training, network in enumerate(trained):
                    with torch.inference_mode():
                        one = relative_errors(network.analyses(given[batch]), truth[batch])
                    errors[training, seed] += one.sum().item()
    return errors / len(tests)
