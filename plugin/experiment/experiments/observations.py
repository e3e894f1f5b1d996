"""Error and time against the number of readings (Fig. 14)."""

from matplotlib.figure import Figure

from plugin.experiment.experiments.rows import (
    ERROR,
    MAGIC,
    Row,
    all_modes,
    compared_network,
    linear_rows,
    network_rows,
    truncated,
)
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.states import ExperimentInputs


def observations(inputs: ExperimentInputs) -> Result:
    """TSVD for increasing M, and a network that observes all values whatever M is."""
    parts = sorted(inputs.settings.observations)
    groups = [linear_rows(compared(inputs), parts, inputs) for compared in (truncated, all_modes)]
    groups += [[row] for row in network_rows(compared_network(inputs), inputs)]
    columns = {"system": "system", "part": "M / n", "count": "M", **ERROR, "prepare": "preparation [s]", **MAGIC}
    table = ScoreTable(
        "Error and time against the number of readings", columns, [row for rows in groups for row in rows]
    )
    return Result("observations", (table,), lambda figure: _draw(figure, groups))


def _draw(figure: Figure, groups: list[list[Row]]) -> None:
    panels = figure.subplots(1, 2, sharex=True)
    for axes, key, label in zip(panels, ("error", "seconds"), ("DA MSE", "time [s]"), strict=True):
        for k, rows in enumerate(groups):
            if "epochs" in rows[0]:
                axes.axhline(rows[0][key], color=f"C{k}", linestyle="--", label=f"{rows[0]['system']} (all values)")
                continue
            counts, values = [row["count"] for row in rows], [row[key] for row in rows]
            spread = [row[f"{key}_std"] or 0.0 for row in rows]
            axes.errorbar(counts, values, spread, marker="o", markersize=3, color=f"C{k}", label=rows[0]["system"])
        axes.set(xlabel="number of readings M", ylabel=label, xscale="log")
    panels[0].set_ylim(bottom=0.0)
    panels[1].set_yscale("log")
    panels[0].legend(fontsize="small")
