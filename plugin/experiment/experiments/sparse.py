"""Few real sensors and the true H: the analyses of this package and two baselines without them."""

from matplotlib.figure import Figure

from plugin.experiment.experiments.rows import ERROR, Row, all_modes, compared_network, reported, truncated
from plugin.experiment.networks import trained_networks
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import score
from plugin.experiment.sensor_networks import encoded, voronoi
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.systems import decoded, interpolation


def sparse(inputs: ExperimentInputs) -> Result:
    """Error against the number of sensors."""
    states, protocol, settings = inputs.states, inputs.protocol, inputs.settings.sparse
    states.sensors(max(settings.sensors))  # too many must raise before hours of training
    few = truncated(inputs)[0]
    systems = [few, all_modes(inputs)[0]]
    for name in compared_network(inputs):
        network = trained_networks(name, inputs)[0]
        systems += [decoded(states, protocol, network), encoded(network, inputs)]
    systems += [interpolation("optimal interpolation", states, protocol), voronoi(inputs)]
    rows = []
    for system in systems:
        for count in sorted(settings.sensors):
            scores = score([system], states, protocol, count, settings.every)
            row = {"system": system.name, "count": count, "parameters": system.parameters, **scores.figures()}
            rows.append(reported(row, inputs))
    columns = {"system": "system", "count": "M", **ERROR, "prepare": "preparation [s]", "failed": "failed"}
    return Result("sparse", (ScoreTable("Few sensors, true H", columns, rows),), lambda figure: _draw(figure, rows))


def _draw(figure: Figure, rows: list[Row]) -> None:
    axes = figure.subplots()
    for name in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == name]
        spread = [row["error_std"] or 0.0 for row in own]
        axes.errorbar(
            [r["count"] for r in own], [r["error"] for r in own], spread, marker="o", markersize=3, label=name
        )
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set(xlabel="number of sensors M", ylabel="DA MSE", xscale="log", ylim=(0.0, 1.5))
    axes.legend(fontsize="small")
