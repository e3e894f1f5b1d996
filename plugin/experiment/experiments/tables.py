"""Tables 1 to 3: networks side by side; TSVD at a truncation and with all modes, for several numbers of readings.

A fourth table is ours: principal components of blocks, whose size is chosen by validation.
"""

from matplotlib.figure import Figure

from plugin.experiment import mack_2020
from plugin.experiment.experiments.rows import (
    ERROR,
    MAGIC,
    Row,
    all_modes,
    background_row,
    block_rows,
    compared_network,
    linear_rows,
    network_names,
    network_rows,
    truncated,
)
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.states import ExperimentInputs


def tables(inputs: ExperimentInputs) -> Result:
    """Tables 1, 2 and 3 of Mack et al. 2020, and blocks."""
    names, parts = network_names(inputs.settings.networks), inputs.settings.parts
    networks = network_rows(names, inputs)
    few = linear_rows(truncated(inputs), parts, inputs)
    reduced = linear_rows(all_modes(inputs), parts, inputs)
    blocks = block_rows(inputs)
    known = {row["system"]: row for row in networks}
    other = [known[name] if name in known else network_rows([name], inputs)[0] for name in compared_network(inputs)]
    one = {
        "system": "network", **ERROR, "parameters": "parameters", "numbers": "m", "round_trip": "round trip",
        "epochs": "epochs", "minutes": "min", **MAGIC, "magic_parameters": f"{mack_2020.LABEL} parameters",
    }  # fmt: skip
    two = {"system": "system", "part": "M / n", "count": "M", **ERROR, "prepare": "preparation [s]", **MAGIC}
    four = {"system": "system", "error": "error", "numbers": "m", "least": "round trip"}
    shown = (
        ScoreTable("Table 1: networks, observed at all values", one, networks),
        ScoreTable(f"Table 2: {few[0]['system']}, and a network", two, [background_row(inputs), *few, *other]),
        ScoreTable("Table 3: all modes", two, reduced),
        ScoreTable("Principal components of blocks, observed at all values", four, blocks),
    )
    bars = networks + [row for row in other if row not in networks] + few + reduced + blocks
    return Result("tables", tuple(table for table in shown if table.rows), lambda figure: _draw(figure, bars))


def _draw(figure: Figure, rows: list[Row]) -> None:
    """Bars of errors, the paper's as marks on them."""
    axes = figure.subplots()
    names = [
        row["system"] if "epochs" in row or "points" in row else f"{row['system']}, M = {row['part']:g} n"
        for row in rows
    ]
    axes.barh(names, [row["error"] for row in rows], 0.7, xerr=[row["error_std"] or 0.0 for row in rows], label="here")
    known = [(row["magic_error"], name) for name, row in zip(names, rows, strict=True) if row["magic_error"]]
    if known:
        axes.plot(*zip(*known, strict=True), "k|", markersize=12, label=f"{mack_2020.LABEL} (other data)")
    axes.invert_yaxis()
    axes.set_xlabel("DA MSE")
    axes.legend()
