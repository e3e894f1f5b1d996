"""Error against time over all systems (Fig. 15)."""

from matplotlib.figure import Figure

from plugin.experiment.experiments.rows import (
    ERROR,
    MAGIC,
    Row,
    all_modes,
    linear_rows,
    network_names,
    network_rows,
    truncated,
)
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.states import ExperimentInputs


def tradeoff(inputs: ExperimentInputs) -> Result:
    """All networks, and TSVD with few and with all modes for increasing M."""
    parts = inputs.settings.parts
    groups = [linear_rows(compared(inputs), parts, inputs) for compared in (truncated, all_modes)]
    groups += [[row] for row in network_rows(network_names(inputs.settings.networks), inputs)]
    columns = {"system": "system", "part": "M / n", **ERROR, "parameters": "parameters", **MAGIC}
    rows = sorted((row for rows in groups for row in rows), key=lambda row: row["seconds"])
    table = ScoreTable("Error against time", columns, rows)
    return Result("tradeoff", (table,), lambda figure: _draw(figure, groups))


def _draw(figure: Figure, groups: list[list[Row]]) -> None:
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
