"""How the minimiser came to the last analysis, and how many steps it took before."""

from plugin.report.page.page import Chapter, PageTable, Picture, Text
from plugin.report.page.svg import AFTER, BEFORE, OTHER, drawing, svg


def convergence(run):
    """The chapter; None where no window has an analysis."""
    analysed = [entry for entry in run.entries if "analysis" in entry]
    if not analysed:
        return None
    entry = analysed[-1]
    of = entry["analysis"]
    fall = 1.0 - of["cost"] / of["cost_initial"] if of["cost_initial"] else 0.0
    blocks = [
        Text(
            f"Window {entry['window']}: J fell by {fall:.0%}, from {of['cost_initial']:.4g} to {of['cost']:.4g}, in "
            f"{of['iterations']} iterations ({of['evaluations']} evaluations); ‖∇J‖ from "
            f"{of['gradient_norm_initial']:.2g} to {of['gradient_norm']:.2g}. It ended with {of['reason']}."
        )
    ]
    if "trace" in of:
        blocks.append(_trace(of["trace"], entry["window"]))
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
    heads = "window", "time [s]", "J at the start", "J", "J_b", "J_o", "iterations", "ended with"
    blocks.append(PageTable("J of each window", heads, rows))
    return Chapter("convergence", "Minimisation", blocks)


def _trace(trace, window):
    steps = range(len(trace["cost"]))
    with drawing(9.0, 2.6) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(steps, trace["cost"], ".-", color=BEFORE, label="J")
        left.plot(steps, trace["background"], ".-", color=AFTER, label="J_b")
        observed = [whole - part for whole, part in zip(trace["cost"], trace["background"])]
        left.plot(steps, observed, ".-", color=OTHER, label="J_o")
        left.legend()
        right.semilogy(steps, trace["gradient_norm"], ".-", color=BEFORE)
        left.set(xlabel="iteration", ylabel="cost", ylim=(0, None))
        right.set(xlabel="iteration", ylabel="‖∇J‖")
        for ax in (left, right):
            ax.xaxis.get_major_locator().set_params(integer=True)
        told = (
            f"Cost in each iteration of window {window}: from {trace['cost'][0]:.4g} to {trace['cost'][-1]:.4g}; "
            f"gradient from {trace['gradient_norm'][0]:.2g} to {trace['gradient_norm'][-1]:.2g}"
        )
        return Picture(svg(figure, told), told + ".")
