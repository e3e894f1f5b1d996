"""Whether the assumed errors agree with those that innovations and residuals imply."""

from collections.abc import Iterator

import numpy as np

from da.diagnostics.desroziers import ErrorEstimates, error_estimates
from plugin.report.page.page import Block, Picture, Section, SortableTable, Text
from plugin.report.page.svg import AFTER, BUILDING, drawing, svg
from plugin.report.run import Readings, Run

ENOUGH = 20  # analyses; with fewer the estimates are noise
_NEAR = 1.25  # a ratio of standard deviations below which nothing need be done


def consistency(run: Run) -> Section | None:
    """The section; None where no reading was used."""
    used = run.readings.select(run.readings.used)
    if len(used) == 0:
        return None
    blocks = [*_cost_at_minimum(run), *_errors(used)]
    return Section("consistency", "Are the assumed errors right?", blocks)


def _cost_at_minimum(run: Run) -> Iterator[Block]:
    analyses = [(e["time"], e["analysis"]) for e in run.entries if "cost" in e.get("analysis", {})]
    if not analyses:
        return
    time = [t for t, _ in analyses]
    ratio = [2.0 * a["cost"] / a["innovation"]["count"] for _, a in analyses]
    mean = float(np.mean(ratio))
    if run.settings["observations"].get("huber") is None:  # the Huber norm has another expectation
        yield Text(_verdict_on_cost(mean, len(ratio)), "" if 1 / _NEAR**2 < mean < _NEAR**2 else "fair")
    with drawing(9.0, 2.4) as figure:
        ax = figure.subplots()
        ax.axhline(1.0, color=BUILDING, lw=1.0)
        ax.plot(time, ratio, ".-", color=AFTER, label="2 J(x_a) / M")
        ax.set(xlabel="time [s]", ylim=(0, None))
        ax.legend()
        caption = f"2 J(x_a) / M over time, {mean:.3g} on average; 1 is expected"
        yield Picture(svg(figure, caption), caption + ".")


def _verdict_on_cost(mean: float, count: int) -> str:
    over = "1 window" if count == 1 else f"{count} windows"
    value = (
        f"2 J(x_a) / M, twice the cost at the analysis per reading, is {mean:.3g} on average over {over}; 1 is expected"
    )
    if mean > _NEAR**2:
        return value + ". Forecast and readings differ by more than their assumed errors explain."
    if mean < 1 / _NEAR**2:
        return value + ". Forecast and readings agree better than their assumed errors suggest."
    return value + " where the errors of background and readings are as assumed."


def _errors(used: Readings) -> Iterator[Block]:
    estimates = error_estimates(used.innovation, used.residual, used.variable, used.window)
    rows = []
    for name, estimate in estimates.items():
        own = used.select(used.variable == name)
        assumed = float(np.sqrt(np.mean(own.error**2)))
        background = float(np.sqrt(max(np.mean(own.innovation**2) - assumed**2, 0.0)))
        chi = float(np.mean((own.residual / own.error) ** 2))
        shown = estimate.observation.std, estimate.background.std
        rows.append((name, estimate.count, estimate.analyses, assumed, *shown, background, chi))
        yield _verdict_on_errors(name, estimate, assumed)
    heads = (
        "variable", "readings", "windows", "σ_o assumed", "σ_o estimated", "σ_b estimated", "σ_b if σ_o is right", "χ²",
    )  # fmt: skip
    yield SortableTable(
        "Errors estimated from innovations d and residuals r (Desroziers et al. 2005); χ² is the mean of (r/σ_o)²",
        heads,
        rows,
    )


def _verdict_on_errors(name: str, estimate: ErrorEstimates, assumed: float) -> Text:
    """What one variable's estimates mean for its settings."""
    if estimate.analyses < ENOUGH:
        return Text(f"{name}: too few windows ({estimate.analyses}) to judge; {ENOUGH} or more are needed.")
    variance, likely = estimate.observation.variance, 2.0 * estimate.observation.standard_error
    if variance <= 0.0:
        return Text(
            f"{name}: analyses overshoot the readings (r·d < 0 on average): the assumed background errors are far too "
            "large compared with the readings', or the correlations of either are wrong.",
            "fair",
        )
    ratio = np.sqrt(variance) / assumed
    if 1 / _NEAR < ratio < _NEAR or abs(variance - assumed**2) < likely:
        return Text(
            f"{name}: the readings' errors are about the {assumed:.3g} assumed ({np.sqrt(variance):.3g} estimated)."
        )
    way = "larger" if ratio > 1.0 else "smaller"
    advice = "raise" if ratio > 1.0 else "lower"
    return Text(
        f"{name}: the readings' errors look {way} than assumed, {np.sqrt(variance):.3g} instead of {assumed:.3g}; "
        f"{advice} them in the readings' file or in observations.error_model, if the sensors' data sheets agree.",
        "fair",
    )
