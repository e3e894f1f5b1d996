"""The error of each test step, TSVD and a network (Figs. 2 and 16)."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from plugin.experiment import mack_2020
from plugin.experiment.experiments.rows import all_modes, compared_network, truncated
from plugin.experiment.networks import trained_networks
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import score
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.systems import System, autoencoder


def steps(inputs: ExperimentInputs) -> Result:
    """All values observed. Errors of a network are the mean over its trainings."""
    states, protocol = inputs.states, inputs.protocol
    groups: dict[str, list[System]] = {}
    paper: dict[str, float | None] = {}
    for system, known in (truncated(inputs), all_modes(inputs)):
        groups[system.name], paper[system.name] = [system], known[1.0][0] if known else None
    for name in compared_network(inputs):
        paper[name] = mack_2020.NETWORKS[name][0] if name in mack_2020.NETWORKS else None
        groups[name] = [autoencoder(name, states, protocol, each) for each in trained_networks(name, inputs)]
    errors = {}
    for name, systems in groups.items():
        errors[name] = score(systems, states, protocol, len(states.used)).errors.mean(axis=0)
        inputs.progress.say(f"{name}: error {errors[name].mean():.4g}")
    numbers = states.test(protocol.every)
    summary = [
        {
            "system": name, "error": float(e.mean()), "median": float(np.median(e)), "least": float(e.min()),
            "most": float(e.max()), "magic_error": paper[name],
        }
        for name, e in errors.items()
    ]  # fmt: skip
    each = [
        {"step": int(number), "time": float(states.times[number]), **{name: float(e[k]) for name, e in errors.items()}}
        for k, number in enumerate(numbers)
    ]
    columns = {"system": "system", "error": "mean", "median": "median", "least": "least", "most": "largest"}
    columns["magic_error"] = f"{mack_2020.LABEL} mean"
    shown = ScoreTable(f"Errors of {len(numbers)} test steps, all values observed", columns, summary)
    tables, times = (shown, ScoreTable("Test steps", {}, each)), states.times[numbers]
    return Result("steps", tables, lambda figure: _draw(figure, times, errors))


def _draw(figure: Figure, times: np.ndarray, errors: dict[str, Any]) -> None:
    axes = figure.subplots()
    for name, values in errors.items():
        axes.plot(times, values, linewidth=1.0, label=name)
    axes.set(xlabel="time of the test step [s]", ylabel="DA MSE", ylim=(0.0, None))
    axes.legend(fontsize="small")
