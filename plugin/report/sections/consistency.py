"""Whether the errors that were assumed are those that the readings show."""

import numpy as np

from da.diagnostics.desroziers import error_estimates
from plugin.report.page.page import Chapter, PageTable, Picture, Text
from plugin.report.page.svg import AFTER, BUILDING, drawing, svg

ENOUGH = 20  # analyses; of fewer the estimates are noise
_NEAR = 1.25  # a ratio of standard deviations that is nothing to act on


def consistency(run):
    """The chapter; None where nothing was analysed."""
    used = run.readings.select(run.readings.used)
    if len(used) == 0:
        return None
    blocks = [*_cost_at_minimum(run), *_errors(used)]
    return Chapter("consistency", "Are the assumed errors right?", blocks)


def _cost_at_minimum(run):
    told = [(e["time"], e["analysis"]) for e in run.entries if "analysis" in e]
    if not told:
        return
    time = [t for t, _ in told]
    ratio = [2.0 * a["cost"] / a["innovation"]["count"] for _, a in told]
    mean = float(np.mean(ratio))
    if run.settings["observations"].get("huber") is None:  # whose norm has no such expectation
        yield Text(_what_chi_says(mean, len(ratio)), "" if 1 / _NEAR**2 < mean < _NEAR**2 else "fair")
    with drawing(9.0, 2.4) as figure:
        ax = figure.subplots()
        ax.axhline(1.0, color=BUILDING, lw=1.0)
        ax.plot(time, ratio, ".-", color=AFTER, label="2 J(x_a) / M")
        ax.set(xlabel="time [s]", ylim=(0, None))
        ax.legend()
        seen = f"2 J(x_a) / M over time, on average {mean:.3g}; 1 is expected"
        yield Picture(svg(figure, seen), seen + ".")


def _what_chi_says(mean, count):
    told = f"2 J(x_a) / M, cost at the analysis by number of readings, is {mean:.3g} on average over {count} windows; "
    if mean > _NEAR**2:
        return told + "1 is expected. Forecast and readings differ by more than the assumed errors of both allow."
    if mean < 1 / _NEAR**2:
        return told + "1 is expected. Forecast and readings agree better than the assumed errors would let them."
    return told + "as it should be (1) where the errors of background and readings are the assumed ones."


def _errors(used):
    told = error_estimates(used.innovation, used.residual, used.variable, used.window)
    rows = []
    for name, of in told.items():
        mine = used.select(used.variable == name)
        assumed = float(np.sqrt(np.mean(mine.error**2)))
        background = float(np.sqrt(max(np.mean(mine.innovation**2) - assumed**2, 0.0)))
        chi = float(np.mean((mine.residual / mine.error) ** 2))
        rows.append((name, of.count, of.analyses, assumed, of.observation.std, of.background.std, background, chi))
        yield _what_errors_say(name, of, assumed)
    heads = (
        "variable", "readings", "windows", "σ_o assumed", "σ_o shown", "σ_b shown", "σ_b if σ_o is right", "χ²",
    )  # fmt: skip
    yield PageTable(
        "Errors that innovations d and residuals r show (Desroziers et al. 2005); χ² is the mean of (r/σ_o)²",
        heads,
        rows,
    )


def _what_errors_say(name, of, assumed):
    """What a person is to make of one variable's estimates."""
    if of.analyses < ENOUGH:
        return Text(f"{name}: {of.analyses} windows are too few to say; {ENOUGH} or more are needed.")
    shown, likely = of.observation.variance, 2.0 * of.observation.standard_error
    if shown <= 0.0:
        return Text(
            f"{name}: analyses go beyond the readings (r·d < 0 on average): background errors are assumed "
            "far too large beside the readings', or either are correlated otherwise.",
            "fair",
        )
    ratio = np.sqrt(shown) / assumed
    if 1 / _NEAR < ratio < _NEAR or abs(shown - assumed**2) < likely:
        return Text(f"{name}: errors of readings look like the {assumed:.3g} that was assumed ({np.sqrt(shown):.3g}).")
    way = "larger" if ratio > 1.0 else "smaller"
    advice = "raise" if ratio > 1.0 else "lower"
    return Text(
        f"{name}: errors of readings look {way} than assumed, {np.sqrt(shown):.3g} in place of {assumed:.3g}; {advice} "
        "them in the readings' file or observations.error_model, if the sensors' makers agree.",
        "fair",
    )
