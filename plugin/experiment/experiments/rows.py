"""Rows of scores that several experiments share."""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from matplotlib.figure import Figure

from plugin.case.experiment import NetworksSection
from plugin.experiment import mack_2020
from plugin.experiment.block_codec import codec_errors
from plugin.experiment.networks import trained_networks
from plugin.experiment.scores import score
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.systems import System, autoencoder, background, linear, reduced, tsvd

ERROR = {"error": "error", "seconds": "time [s]"}
MAGIC = {"magic_error": f"{mack_2020.LABEL} error", "magic_seconds": f"{mack_2020.LABEL} time [s]"}


Row = dict[str, Any]
Paper = Mapping[float, tuple[float, float]]  # {part: (error, seconds)} from the paper
SystemAndPaper = tuple[System, Paper]


def truncated(inputs: ExperimentInputs) -> SystemAndPaper:
    """TSVD at the settings' truncation."""
    modes = tsvd(inputs.states, inputs.protocol, inputs.settings.truncation)
    paper: Paper = mack_2020.TRUNCATED if modes.n_modes == mack_2020.TAU else {}
    return linear(f"TSVD, τ = {modes.n_modes}", modes, inputs.protocol), paper


def all_modes(inputs: ExperimentInputs) -> SystemAndPaper:
    """TSVD with all modes."""
    return linear("TSVD, τ = S", reduced(inputs.states, inputs.protocol), inputs.protocol), mack_2020.REDUCED


def background_row(inputs: ExperimentInputs) -> Row:
    """The row without an analysis, whose error is 1."""
    states = inputs.states
    scores = score([background(states)], states, inputs.protocol, len(states.used))
    row = {"system": "background", "count": len(states.used), **scores.figures(), "magic_error": mack_2020.BACKGROUND}
    return reported(row, inputs)


def network_rows(names: Iterable[str], inputs: ExperimentInputs) -> list[Row]:
    """A row for each network, observed at all values."""
    return [_network_row(name, inputs) for name in names]


def network_names(settings: NetworksSection) -> list[str]:
    """The names of the networks that the settings ask for."""
    return list(mack_2020.NETWORKS) if settings.names is None else settings.names


def compared_network(inputs: ExperimentInputs) -> list[str]:
    """The name of the network compared with TSVD, in a list; an empty list where the settings name none."""
    name = inputs.settings.networks.beside
    return [] if name is None else [name]


def _network_row(name: str, inputs: ExperimentInputs) -> Row:
    states, networks = inputs.states, trained_networks(name, inputs)
    systems = [autoencoder(name, states, inputs.protocol, each) for each in networks]
    scores = score(systems, states, inputs.protocol, len(states.used))
    error, seconds, parameters = mack_2020.NETWORKS.get(name, (None, None, None))
    row = {
        "system": name, "part": 1.0, "count": len(states.used), **networks[0].figures(), **scores.figures(),
        "magic_error": error, "magic_seconds": seconds, "magic_parameters": parameters,
    }  # fmt: skip
    return reported(row, inputs)


def linear_rows(compared: SystemAndPaper, parts: Iterable[float], inputs: ExperimentInputs) -> list[Row]:
    """A row for each part of the values that is observed."""
    system, paper = compared
    rows = []
    for part in parts:
        count = inputs.states.count(part)
        scores = score([system], inputs.states, inputs.protocol, count)
        error, seconds = paper.get(part, (None, None))
        row = {
            "system": system.name, "part": part, "count": count, "parameters": system.parameters,
            "numbers": system.numbers, **scores.figures(), "magic_error": error, "magic_seconds": seconds,
        }  # fmt: skip
        rows.append(reported(row, inputs))
    return rows


def block_rows(inputs: ExperimentInputs) -> list[Row]:
    """A row for each number of components of blocks, all values observed; the block's size is chosen by validation.

    `least` is the error of the state described by the components, `error` that of the analysis.
    """
    states, protocol, settings = inputs.states, inputs.protocol, inputs.settings.blocks
    counts = sorted(settings.numbers)
    trials = {
        points: codec_errors(states.validation(), points, counts, protocol) for points in dict.fromkeys(settings.points)
    }
    best = [min(trials, key=lambda points: float(trials[points][k].codec.mean())) for k in range(len(counts))]
    scored = {points: codec_errors(states, points, counts, protocol) for points in dict.fromkeys(best)}
    rows = []
    for k, points in enumerate(best):
        of = scored[points][k]
        shape = " × ".join(map(str, points))
        row: Row = {
            "system": f"blocks of {shape} points, m = {of.numbers}", "numbers": of.numbers, "points": shape,
            "part": 1.0, "count": len(states.used), "error": float(of.analysis.mean()), "error_std": None,
            "least": float(of.codec.mean()), "magic_error": None,
        }  # fmt: skip
        inputs.progress.say(f"{row['system']}: error {row['error']:.4g}, as a codec {row['least']:.4g}")
        rows.append(row)
    return rows


def draw_by_sensors(figure: Figure, rows: Iterable[Row], styles: Mapping[str, str]) -> None:
    """Errors against the number of sensors, a line for each noise and system; styles by system."""
    axes, rows = figure.subplots(), list(rows)
    for noise, name in product(dict.fromkeys(row["noise"] for row in rows), styles):
        own = [row for row in rows if row["noise"] == noise and row["system"] == name]
        if not own:
            continue
        counts, errors, bars = zip(*((row["count"], row["error"], row["error_std"] or 0.0) for row in own), strict=True)
        label = name if not noise else f"{name}, noise {noise:g} σ"
        axes.errorbar(counts, errors, bars, marker="o", markersize=3, linestyle=styles[name], label=label)
    axes.set(xlabel="number of sensors M", ylabel="DA MSE", xscale="log", ylim=(0.0, None))
    axes.legend(fontsize="small")


def reported(row: Row, inputs: ExperimentInputs) -> Row:
    """The row, after its scores are shown as progress."""
    milliseconds = 1e3 * row["seconds"]
    inputs.progress.say(f"{row['system']}, M = {row['count']}: error {row['error']:.4g}, {milliseconds:.3g} ms")
    return row
