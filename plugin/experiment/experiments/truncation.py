"""Error against the number of modes, all values observed, and the least error that their span allows.

Beside it, at equal numbers, TSVD and principal components of blocks, whose size is chosen by validation.
"""

import numpy as np
from matplotlib.figure import Figure

from da.background.modes import Modes
from plugin.experiment import mack_2020
from plugin.experiment.experiments.rows import ERROR, Row, all_modes, block_rows, reported
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import score
from plugin.experiment.states import ExperimentInputs
from plugin.experiment.systems import System, leading, linear, tsvd


def truncation(inputs: ExperimentInputs) -> Result:
    """TSVD at the settings' `truncations`, and with all modes; blocks."""
    every = tsvd(inputs.states, inputs.protocol, 1.0)

    def truncated(tau: int) -> Row:
        system = linear("TSVD", leading(every, tau), inputs.protocol)
        return _row(system, every, tau, mack_2020.MODES.get(tau), inputs)

    rows = [truncated(tau) for tau in inputs.settings.truncations if tau < every.n_modes]
    system, paper = all_modes(inputs)
    rows.append(_row(system, every, every.n_modes, paper[1.0][0], inputs))
    columns = {"numbers": "τ", **ERROR, "least": "least in the span", "magic_error": f"{mack_2020.LABEL} error"}
    table = ScoreTable("Error against the number of modes, all values observed", columns, rows)
    blocks, known = block_rows(inputs), {row["numbers"]: row for row in rows}
    for row in blocks:
        tau = min(row["numbers"], every.n_modes)
        if tau not in known:
            known[tau] = truncated(tau)
        row |= {"tsvd": known[tau]["least"], "tsvd_error": known[tau]["error"]}
    shown = {
        "numbers": "m", "least": "blocks, as a codec", "tsvd": "TSVD, as a codec", "error": "blocks, analysis",
        "tsvd_error": "TSVD, analysis", "points": "points of a block",
    }  # fmt: skip
    beside = ScoreTable("Principal components of blocks and of the whole, all values observed", shown, blocks)
    return Result("truncation", (table, beside), lambda figure: _draw(figure, rows, blocks))


def _row(system: System, modes: Modes, tau: int, paper: float | None, inputs: ExperimentInputs) -> Row:
    states, protocol = inputs.states, inputs.protocol
    scores = score([system], states, protocol, len(states.used))
    assert modes.singular_values is not None  # TSVD's modes have them
    base = modes.vectors[:, :tau] / modes.singular_values[:tau]
    truths, used = ((number, states.truth(number)) for number in states.test(protocol.every)), states.used
    described = ((np.array([number]), base @ (base.T @ truth)) for number, truth in truths)
    least = float(np.mean([states.errors(state[used, None], number, used) for number, state in described]))
    row = {"system": system.name, "numbers": tau, "count": len(states.used), **scores.figures(), "least": least}
    return reported({**row, "magic_error": paper}, inputs)


def _draw(figure: Figure, rows: list[Row], blocks: list[Row]) -> None:
    axes = figure.subplots()
    tau = [row["numbers"] for row in rows]
    axes.plot(tau, [row["error"] for row in rows], "o-", label="analysis")
    axes.plot(tau, [row["least"] for row in rows], ":", color="0.5", label="least in the span")
    numbers = [row["numbers"] for row in blocks]
    axes.plot(numbers, [row["error"] for row in blocks], "s-", label="analysis, blocks")
    axes.plot(numbers, [row["least"] for row in blocks], "--", color="0.5", label="least in the span of blocks")
    known = [(row["numbers"], row["magic_error"]) for row in rows if row["magic_error"]]
    axes.plot(*zip(*known, strict=True), "kx", label=f"{mack_2020.LABEL} (other data)")
    axes.set(xlabel="number of modes τ", ylabel="DA MSE", xscale="log", ylim=(0.0, None))
    axes.legend()
