"""Error and time against the number of readings (Fig. 14)."""

from plugin.experiment.experiments.rows import ERROR, MAGIC, beside, linear_rows, network_rows, truncated, whole
from plugin.experiment.results import Result, ScoreTable


def observations(inputs):
    """TSVD for rising M, beside a network that sees all values whatever M is. A Result."""
    parts = sorted(inputs.settings.observations)
    groups = [linear_rows(of(inputs), parts, inputs) for of in (truncated, whole)]
    groups += [[row] for row in network_rows(beside(inputs), inputs)]
    columns = {"system": "system", "part": "M / n", "count": "M", **ERROR, "prepare": "made before [s]", **MAGIC}
    table = ScoreTable("Error and time against the number of readings", columns, [row for rows in groups for row in rows])
    return Result("observations", (table,), lambda figure: _draw(figure, groups))


def _draw(figure, groups):
    panels = figure.subplots(1, 2, sharex=True)
    for axes, key, label in zip(panels, ("error", "seconds"), ("DA MSE", "time [s]")):
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
