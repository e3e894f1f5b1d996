"""Few real sensors and the true H: the analyses of this package and two baselines without them, in two tables.

The first is by the paper's protocol, with its σ_o² for all. In the second each system has settings chosen by validation
at each number of sensors and each noise, linear ones by blocks in time of the training states, networks by the last
tenth of these; then all test states are analysed once. The linear ones are TSVD with its truncation chosen, and those
of the experiment `localised`, whose settings also give noise, folds and σ_o² here.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from plugin.experiment.experiments.localised import localised
from plugin.experiment.experiments.rows import ERROR, Row, all_modes, compared_network, reported, truncated
from plugin.experiment.mode_errors import ModeErrors, Truncating
from plugin.experiment.networks import Network, trained_networks
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import score, spread
from plugin.experiment.sensor_networks import encoded, voronoi
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.systems import System, decoded, interpolation
from plugin.experiment.trials import some_values


def sparse(inputs: ExperimentInputs) -> Result:
    """Error against the number of sensors."""
    settings = inputs.settings.sparse
    inputs.states.sensors(max(settings.sensors))  # too many must raise before hours of training
    networks = [network for name in compared_network(inputs) for network in trained_networks(name, inputs)]
    rows = _paper_rows(networks, inputs)
    chosen = _mode_rows(inputs) + _localised_rows(inputs) + _network_rows(networks, inputs)
    columns = {
        "system": "system", "count": "M", "states": "states", **ERROR, "prepare": "preparation [s]", "failed": "failed",
    }  # fmt: skip
    shown = {
        "system": "system", "noise": "noise", "count": "M", "states": "states", "error": "error", "modes": "τ or k",
        "horizontal": "L_h [m]", "vertical": "L_z [m]", "variance": "σ_o²", "lags": "lags [s]",
    }  # fmt: skip
    tables = (
        ScoreTable("Few sensors, true H, the paper's protocol", columns, rows),
        ScoreTable("Few sensors, true H, settings chosen by validation", shown, chosen),
    )
    return Result("sparse", tables, lambda figure: _draw(figure, rows, chosen))


def _paper_rows(networks: Sequence[Network], inputs: ExperimentInputs) -> list[Row]:
    """All systems with the protocol's σ_o²."""
    states, protocol, settings = inputs.states, inputs.protocol, inputs.settings.sparse
    groups = [([truncated(inputs)[0]], settings.every), ([all_modes(inputs)[0]], settings.every)]
    groups += [([decoded("decoded", states, protocol, network) for network in networks], settings.decoded_every)]
    encoders, *others = _of_sensors(networks, inputs)
    plain = [interpolation("optimal interpolation", states, protocol)]
    groups += [(systems, settings.every) for systems in (encoders, plain, *others)]
    return [
        _row(systems, count, every, inputs)
        for systems, every in groups
        if systems
        for count in sorted(settings.sensors)
    ]


def _row(systems: Sequence[System], count: int, every: int, inputs: ExperimentInputs) -> Row:
    """One system's row, from all its trainings."""
    scores = score(systems, inputs.states, inputs.protocol, count, every)
    row = {"system": systems[0].name, "count": count, "parameters": systems[0].parameters, **scores.figures()}
    return reported({**row, "states": scores.errors.shape[1]}, inputs)


def _of_sensors(networks: Sequence[Network], inputs: ExperimentInputs) -> list[list[System]]:
    """Systems that begin with a network of the readings, one for each training: `bireduced`, then Voronoi-CNN."""
    seeds = range(len(networks))
    first = [encoded(network, inputs, seed) for seed, network in zip(seeds, networks, strict=True)]
    return [first, [voronoi(inputs, seed) for seed in seeds]]


def _mode_rows(inputs: ExperimentInputs) -> list[Row]:
    """TSVD, its truncation and σ_o² chosen by validation."""
    states, settings, protocol = inputs.states, inputs.settings, inputs.protocol
    some = states.used[some_values(len(states.used), settings.localised.values)]
    every, of_folds = ModeErrors(states, protocol), settings.localised
    folds = states.folds(of_folds.folds, of_folds.gap, of_folds.states)
    fewest = min(len(known) for _, known in folds) - 1
    tried = [
        Truncating(tau, variance)
        for tau in [*(tau for tau in settings.truncations if tau < fewest), fewest]
        for variance in settings.localised.variances
    ]
    cases = list(product(settings.localised.noise, sorted(settings.sparse.sensors)))
    draws: dict[tuple[float, int], list[dict[Truncating, np.ndarray]]] = {case: [] for case in cases}
    for fold, (withheld, known) in enumerate(folds):
        before = ModeErrors(states.of_fold(withheld, known), protocol.model_copy(update={"every": 1}), some)
        for noise, count in cases:
            draws[noise, count].append(before.errors(count, fold % protocol.seeds, tried, noise))
    rows = []
    for noise, count in cases:
        means = {one: float(np.mean([errors[one].mean() for errors in draws[noise, count]])) for one in tried}
        of = min(means, key=means.__getitem__)
        if of.modes == fewest:  # all of them
            of = replace(of, modes=every.n_modes)
        errors = [every.errors(count, seed, [of], noise)[of].mean() for seed in range(protocol.seeds)]
        row: Row = {"system": "TSVD", "noise": noise, "count": count, **spread("error", np.array(errors))}
        rows.append(row | {"modes": of.modes, "variance": of.variance, "states": len(every.numbers)})
        inputs.progress.say(f"TSVD, M = {count}, noise {noise:g}: error {row['error']:.4g}, τ = {of.modes}")
    return rows


def _localised_rows(inputs: ExperimentInputs) -> list[Row]:
    """The rows of the experiment `localised` for this one's numbers of sensors."""
    sensors = inputs.settings.sparse.sensors
    changed = inputs.changed(localised=inputs.settings.localised.model_copy(update={"sensors": sensors}))
    states = len(inputs.states.test())
    return [{**row, "states": states} for row in localised(changed).tables[0].rows]


def _network_rows(networks: Sequence[Network], inputs: ExperimentInputs) -> list[Row]:
    """Networks, the σ_o² of `decoded` chosen by validation; what begins with a network of the readings has none."""
    settings, rows = inputs.settings, []
    for noise in settings.localised.noise:
        noisy = inputs.changed(protocol=inputs.protocol.model_copy(update={"noise": noise}))
        of_sensors = [systems for systems in _of_sensors(networks, noisy) if systems]
        for count in sorted(settings.sparse.sensors):
            if networks:
                variance = _decoded_variance(networks[0], count, noisy)
                tuned = noisy.protocol.model_copy(update={"variance": variance})
                systems = [decoded("decoded", inputs.states, tuned, network) for network in networks]
                row = _row(systems, count, settings.sparse.decoded_every, noisy)
                rows.append({**row, "noise": noise, "variance": variance})
            rows += [{**_row(systems, count, settings.sparse.every, noisy), "noise": noise} for systems in of_sensors]
    return rows


def _decoded_variance(network: Network, count: int, inputs: ExperimentInputs) -> float:
    """The σ_o² of least validation error of a network's analyses, with codes of the states before."""
    states, settings, protocol = inputs.states.validation(), inputs.settings, inputs.protocol
    known = replace(network, codes=network.codes[:, : states.n_training])
    errors = {}
    for variance in settings.localised.variances:
        tried = decoded("decoded", states, protocol.model_copy(update={"variance": variance}), known)
        errors[variance] = score([tried], states, protocol, count, settings.sparse.decoded_every).errors.mean()
    return min(errors, key=errors.__getitem__)


def _draw(figure: Figure, rows: list[Row], chosen: list[Row]) -> None:
    panels: Any = figure.subplots(1, 2, sharex=True, sharey=True)
    least = min((row["noise"] for row in chosen), default=0.0)
    parts = (rows, "the paper's σ_o²"), ([row for row in chosen if row["noise"] == least], "by validation")
    for axes, (shown, title) in zip(panels, parts, strict=True):
        for name in dict.fromkeys(row["system"] for row in shown):
            own = [row for row in shown if row["system"] == name]
            bars = [row["error_std"] or 0.0 for row in own]
            axes.errorbar(
                [r["count"] for r in own], [r["error"] for r in own], bars, marker="o", markersize=3, label=name
            )
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        axes.set(xlabel="number of sensors M", xscale="log", ylim=(0.0, 1.2), title=title)
        axes.legend(fontsize="x-small")
    panels[0].set_ylabel("DA MSE")
