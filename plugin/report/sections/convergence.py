"""How the last minimisation converged, and the cost of every window."""

from collections.abc import Mapping, Sequence

from coupling.common.text import counted
from plugin.report.page.page import Block, Picture, Section, SortableTable, Text
from plugin.report.page.svg import AFTER, BEFORE, OTHER, drawing, svg
from plugin.report.run import Run


def convergence(run: Run) -> Section | None:
    """The section; None where no window has an analysis by a minimiser alone."""
    analysed = [entry for entry in run.entries if "gradient_norm" in entry.get("analysis", {})]
    if not analysed:
        return None
    entry = analysed[-1]
    last = entry["analysis"]
    fall = 1.0 - last["cost"] / last["cost_initial"] if last["cost_initial"] else 0.0
    blocks: list[Block] = [
        Text(
            f"Window {entry['window']}: J fell by {fall:.0%}, from {last['cost_initial']:.4g} to {last['cost']:.4g}, "
            f"in {counted(last['iterations'], 'iteration')} ({counted(last['evaluations'], 'evaluation')}); ‖∇J‖ from "
            f"{last['gradient_norm_initial']:.2g} to {last['gradient_norm']:.2g}. It ended with {last['reason']}."
        )
    ]
    if "trace" in last:
        blocks.append(_trace(last["trace"], entry["window"]))
    rows = [
        (
            e["window"],
            e["time"],
            *(e["analysis"][c] for c in ("cost_initial", "cost", "cost_background", "cost_observation")),
            e["analysis"]["iterations"],
            e["analysis"]["reason"],
        )
        for e in analysed
    ]
    heads = "window", "time [s]", "J at first", "J", "J_b", "J_o", "iterations", "ended with"
    blocks.append(SortableTable("J of each window", heads, rows))
    return Section("convergence", "Minimisation", blocks)


def _trace(trace: Mapping[str, Sequence[float]], window: int) -> Picture:
    steps = range(len(trace["cost"]))
    with drawing(9.0, 2.6) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(steps, trace["cost"], ".-", color=BEFORE, label="J")
        left.plot(steps, trace["background"], ".-", color=AFTER, label="J_b")
        observed = [total - part for total, part in zip(trace["cost"], trace["background"], strict=True)]
        left.plot(steps, observed, ".-", color=OTHER, label="J_o")
        left.legend()
        right.semilogy(steps, trace["gradient_norm"], ".-", color=BEFORE)
        left.set(xlabel="iteration", ylabel="cost", ylim=(0, None))
        right.set(xlabel="iteration", ylabel="‖∇J‖")
        for ax in (left, right):
            ax.xaxis.get_major_locator().set_params(integer=True)
        caption = (
            f"Cost in each iteration of window {window}: from {trace['cost'][0]:.4g} to {trace['cost'][-1]:.4g}; "
            f"gradient from {trace['gradient_norm'][0]:.2g} to {trace['gradient_norm'][-1]:.2g}"
        )
        return Picture(svg(figure, caption), caption + ".")
