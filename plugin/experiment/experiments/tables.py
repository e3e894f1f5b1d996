"""Tables 1 to 3: networks beside each other; TSVD at a truncation and with all modes, for numbers of readings."""

from plugin.experiment import mack_2020
from plugin.experiment.experiments.rows import (
    ERROR,
    MAGIC,
    background_row,
    beside,
    linear_rows,
    names_of,
    network_rows,
    truncated,
    whole,
)
from plugin.experiment.results import Result, ScoreTable


def tables(inputs):
    """Tables 1, 2 and 3 of Mack et al. 2020. A Result."""
    names, parts = names_of(inputs.settings.networks), inputs.settings.parts
    networks = network_rows(names, inputs)
    few, all_modes = linear_rows(truncated(inputs), parts, inputs), linear_rows(whole(inputs), parts, inputs)
    known = {row["system"]: row for row in networks}
    other = [known[name] if name in known else network_rows([name], inputs)[0] for name in beside(inputs)]
    one = {
        "system": "network", **ERROR, "parameters": "parameters", "numbers": "m", "round_trip": "round trip",
        "epochs": "epochs", "minutes": "min", **MAGIC, "magic_parameters": f"{mack_2020.LABEL} parameters",
    }  # fmt: skip
    two = {"system": "system", "part": "M / n", "count": "M", **ERROR, "prepare": "made before [s]", **MAGIC}
    shown = (
        ScoreTable("Table 1: networks, observed at all values", one, networks),
        ScoreTable(f"Table 2: {few[0]['system']}, and a network", two, [background_row(inputs), *few, *other]),
        ScoreTable("Table 3: all modes", two, all_modes),
    )
    bars = networks + [row for row in other if row not in networks] + few + all_modes
    return Result("tables", tuple(table for table in shown if table.rows), lambda figure: _draw(figure, bars))


def _draw(figure, rows):
    """Bars of errors, the paper's as marks on them."""
    axes = figure.subplots()
    names = [row["system"] if "epochs" in row else f"{row['system']}, M = {row['part']:g} n" for row in rows]
    axes.barh(names, [row["error"] for row in rows], 0.7, xerr=[row["error_std"] or 0.0 for row in rows], label="here")
    known = [(row["magic_error"], name) for name, row in zip(names, rows) if row["magic_error"]]
    if known:
        axes.plot(*zip(*known), "k|", markersize=12, label=f"{mack_2020.LABEL} (other data)")
    axes.invert_yaxis()
    axes.set_xlabel("DA MSE")
    axes.legend()
