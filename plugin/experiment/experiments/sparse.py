"""Few real sensors and the true H: the analyses of this package beside two baselines that do without them."""

from plugin.experiment.experiments.rows import ERROR, beside, tell, truncated, whole
from plugin.experiment.networks import trained_networks
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import score
from plugin.experiment.sensor_networks import encoded, voronoi
from plugin.experiment.systems import decoded, interpolation


def sparse(inputs):
    """Error against the number of sensors. A Result."""
    states, protocol, of = inputs.states, inputs.protocol, inputs.settings.sparse
    states.sensors(max(of.sensors))  # too many are to be told before hours of training
    few = truncated(inputs)[0]
    systems = [few, whole(inputs)[0]]
    for name in beside(inputs):
        network = trained_networks(name, inputs)[0]
        systems += [decoded(states, protocol, network), encoded(network, inputs)]
    systems += [interpolation("optimal interpolation", states, protocol), voronoi(inputs)]
    rows = []
    for system in systems:
        for count in sorted(of.sensors):
            found = score([system], states, protocol, count, of.every)
            row = {"system": system.name, "count": count, "parameters": system.parameters, **found.figures()}
            rows.append(tell(row, inputs))
    columns = {"system": "system", "count": "M", **ERROR, "prepare": "made before [s]", "failed": "not found"}
    return Result("sparse", (ScoreTable("Few sensors, true H", columns, rows),), lambda figure: _draw(figure, rows))


def _draw(figure, rows):
    axes = figure.subplots()
    for name in dict.fromkeys(row["system"] for row in rows):
        of = [row for row in rows if row["system"] == name]
        spread = [row["error_std"] or 0.0 for row in of]
        axes.errorbar([r["count"] for r in of], [r["error"] for r in of], spread, marker="o", markersize=3, label=name)
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set(xlabel="number of sensors M", ylabel="DA MSE", xscale="log", ylim=(0.0, 1.5))
    axes.legend(fontsize="small")
