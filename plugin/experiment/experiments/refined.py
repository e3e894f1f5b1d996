"""Few sensors: localised linear analyses, and the same refined by a network.

Lengths are chosen by validation of the linear analyses, which the network then refines: it has learned from the
training states before the last tenth, with covariances of other periods. The test states are analysed once, all of
them, with covariances of all training states.
"""

from itertools import product
from typing import Any

import numpy as np
import torch

from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import RefinedSection
from plugin.experiment.experiments.rows import Row, draw_by_sensors
from plugin.experiment.refinement import (
    BATCH,
    AnalysedVariable,
    Refined,
    analysed_variable,
    localising,
    noisy_readings,
    relative_errors,
    trained_refinement,
)
from plugin.experiment.refinement_inputs import LocalisedAnalyses, steps_before
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import spread
from plugin.experiment.states import ExperimentInputs

_NOISE = 12  # stream of random numbers
_LINEAR, _ROOTS, _REFINED = "localised", "localised, square roots", "refined"


def refined(inputs: ExperimentInputs) -> Result:
    """Errors of linear and of refined analyses against the number of sensors, for each noise of the readings."""
    settings, seeds = inputs.settings.refined, range(inputs.protocol.seeds)
    if inputs.states.plain is not None:
        raise ConfigurationError(
            "background.variables: the experiment refined transforms its variable itself; leave the key out, and use "
            "experiment.refined.square_root"
        )
    variable = analysed_variable(inputs.states, settings.square_root)
    inputs.states.sensors(max(settings.sensors))  # too many must raise before the training
    of = trained_refinement(variable, settings, inputs.settings.networks.folder, inputs.progress)
    compared: dict[tuple[str, ...], _Scored] = {}
    if settings.square_root:
        plain = AnalysedVariable(inputs.states, inputs.states)
        compared[(_LINEAR,)] = _Scored(Refined(of.network, plain), settings, seeds)
    compared[(_ROOTS if settings.square_root else _LINEAR, _REFINED)] = _Scored(of, settings, seeds)
    rows: list[Row] = []
    for noise, count in product(settings.noise, sorted(settings.sensors)):
        for names, scored in compared.items():
            length, errors = scored.best(count, noise, _REFINED in names)
            for system, by_seed in zip(names, errors.T, strict=False):
                row: dict[str, Any] = {
                    "system": system, "noise": noise, "count": count, **spread("error", by_seed), "horizontal": length,
                }  # fmt: skip
                inputs.progress.say(f"  {count} sensors, noise {noise:g}, {system}: error {row['error']:.4g}")
                rows.append(row)
    columns = {"system": "system", "noise": "noise", "count": "M", "error": "error", "horizontal": "L_h [m]"}
    styles = {name: "-" if name == _REFINED else "--" for names in compared for name in names}
    return Result(
        "refined", (ScoreTable("Few sensors, refined", columns, rows),), lambda f: draw_by_sensors(f, rows, styles)
    )


class _Scored:
    """Linear and refined analyses, and how their length is chosen."""

    def __init__(self, of: Refined, settings: RefinedSection, seeds: range) -> None:
        self.of, self.settings, self.seeds = of, settings, seeds
        states = of.variable.analysed
        self.numbers = states.validating, states.test()
        self.known = [LocalisedAnalyses(states, np.arange(part[0])) for part in self.numbers]
        self.steps = steps_before(states, settings.lags)

    def best(self, count: int, noise: float, refined: bool) -> tuple[float, np.ndarray]:
        """The length of least validation error, and (seeds, 2) errors of the test states: linear, refined if asked."""
        lengths = self.settings.horizontal
        validated = [self._errors(0, length, count, noise, False)[:, 0].mean() for length in lengths]
        length = lengths[int(np.argmin(validated))]
        return length, self._errors(1, length, count, noise, refined)

    def _errors(self, part: int, length: float, count: int, noise: float, refined: bool) -> np.ndarray:
        """(seeds, 2) mean errors of validation, part 0, or test, part 1."""
        known, numbers, of = self.known[part], self.numbers[part], self.of
        states, truth = of.variable.analysed, of.variable.scored.rows
        errors = np.full((len(self.seeds), 2), np.nan)
        for seed in self.seeds:
            rows = np.searchsorted(known.used, states.sensors(count, seed))
            rng = np.random.default_rng((_NOISE, seed, count))
            gain = known.gain(rows, localising(self.settings, length, noise))
            readings = noisy_readings(states, numbers, self.steps, rows, noise, rng)
            sums = np.zeros(2)
            for batch in np.array_split(np.arange(len(numbers)), -(-len(numbers) // BATCH)):
                inputs = torch.from_numpy(gain.inputs(readings[batch], noise))
                wanted = torch.from_numpy(truth[numbers[batch]][:, known.used])
                with torch.inference_mode():
                    sums[0] += relative_errors(of.linear(inputs), wanted).sum().item()
                    if refined:
                        sums[1] += relative_errors(of.analyses(inputs), wanted).sum().item()
            errors[seed] = sums / len(numbers)
        return errors
