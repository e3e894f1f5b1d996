"""Error against time over all systems (Fig. 15)."""

from plugin.experiment.experiments.rows import ERROR, MAGIC, linear_rows, names_of, network_rows, truncated, whole
from plugin.experiment.results import Result, ScoreTable


def tradeoff(inputs):
    """All networks, and TSVD with few and with all modes for rising M. A Result."""
    parts = inputs.settings.parts
    groups = [linear_rows(of(inputs), parts, inputs) for of in (truncated, whole)]
    groups += [[row] for row in network_rows(names_of(inputs.settings.networks), inputs)]
    columns = {"system": "system", "part": "M / n", **ERROR, "parameters": "parameters", **MAGIC}
    rows = sorted((row for rows in groups for row in rows), key=lambda row: row["seconds"])
    table = ScoreTable("Error against time", columns, rows)
    return Result("tradeoff", (table,), lambda figure: _draw(figure, groups))


def _draw(figure, groups):
    axes = figure.subplots()
    for k, rows in enumerate(groups):
        marker, line = ("s", "none") if "epochs" in rows[0] else ("o", ":")
        seconds, errors = [row["seconds"] for row in rows], [row["error"] for row in rows]
        axes.plot(seconds, errors, marker=marker, linestyle=line, color=f"C{k % 10}", label=rows[0]["system"])
        if len(rows) > 1:
            for row in rows:
                axes.annotate(f" M = {row['part']:g} n", (row["seconds"], row["error"]), fontsize="x-small")
    axes.set(xlabel="time [s]", ylabel="DA MSE", xscale="log", ylim=(0.0, None))
    axes.legend(fontsize="small")
