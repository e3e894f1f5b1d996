"""Errors of a twin experiment against its truth, and a page that shows them."""

import base64
import csv
import html
import io
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 the backend must be chosen first
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: E402

from coupling.common.files import whole_file  # noqa: E402
from coupling.geometry.interpolation import multiply, sampling  # noqa: E402
from coupling.geometry.mesh import Field  # noqa: E402
from coupling.simulation.simulation import Series, Simulation  # noqa: E402
from examples.twin import COMM, Say, Twin, analysis_times, dumps, values_at  # noqa: E402
from plugin.case.configuration import read_case  # noqa: E402
from plugin.run.ledger import read_ledger  # noqa: E402

FREE, FORECAST, ANALYSIS = "free run", "forecast", "analysis"
GREY = "#7f7f7f"
COLOURS = ("#1f6fb4", "#d6743c", "#2f8f5b", "#8458a8", "#3aa6b9", "#c2a12b", "#c44e78", "#6b4f3a")


@dataclass(frozen=True)
class Score:
    """Relative errors ‖x − x_t‖₂ / ‖x_t‖₂ at places without sensors, for each analysis time.

    times : (windows,) [s]
    cycles : names of the cycles
    errors : {variable: {"free run", or "NAME forecast" and "NAME analysis" of each cycle: (windows,)}}
    n_places : number of places
    """

    times: np.ndarray
    cycles: tuple[str, ...]
    errors: dict[str, dict[str, np.ndarray]]
    n_places: int

    def mean(self, variable: str, kind: str) -> float:
        """Mean error over the last half of the windows."""
        return self.errors[variable][kind][len(self.times) // 2 :].mean()

    def gain(self, variable: str, cycle: str) -> float:
        """Relative reduction of the free run's error by a cycle's analyses, over the last half of the windows."""
        return 1.0 - self.mean(variable, f"{cycle} {ANALYSIS}") / self.mean(variable, FREE)


def places_to_score(twin: Twin, n: int = 3000, height: float = 40.0, apart: float = 2.0) -> np.ndarray:
    """Random places in the air up to `height` [m] at least `apart` [m] from every sensor."""
    first = dumps(twin, "truth").read(0)
    field = next(iter(first.fields.values()))
    low, high = field.mesh.bounds(COMM)
    high = np.array([high[0], high[1], min(high[2], height)])
    places = low + (high - low) * np.random.default_rng(twin.seed + 1).random((4 * n, 3))
    _, inside = sampling(field.mesh, field.location, places, COMM)
    near = np.linalg.norm(places[:, None] - twin.sensors[None], axis=2).min(axis=1) < apart
    return places[inside & ~near][:n]


def restart_values(twin: Twin, members: Sequence[Path], places: np.ndarray, variable: str) -> np.ndarray:
    """(places,) values of a variable, mean of the restarts of some members on one mesh."""
    name, _, letter = variable.partition(".")
    mean = _mean_field(twin.model.simulation, tuple(members), name)
    matrix, inside = sampling(mean.mesh, mean.location, places, COMM)
    column = mean.values if not letter else mean.values[:, "xyz".index(letter)]
    return np.where(inside, multiply(matrix, column), np.nan)


@lru_cache(maxsize=64)  # a window's forecasts and analyses are asked for once for each component
def _mean_field(simulation: Simulation, members: tuple[Path, ...], name: str) -> Field:
    """Mean of a field over the restarts of some members."""
    fields = (simulation.read_fields(simulation.open_restart(path), COMM, [name])[name] for path in members)
    first = next(fields)
    total = first.values.copy()
    for field in fields:
        total += field.values
    return first.replaced(total / len(members))


def restarts(twin: Twin, cycle: str, key: str) -> list[list[Path]]:
    """Paths of a cycle's restarts, for each window those of all members, or the one of a cycle without members.

    key : "forecast", or "restart" for analyses
    """
    run = read_case(twin.cycles[cycle]).run
    return [[run / of[key] for of in entry.get("members", [entry])] for entry in read_ledger(run / "ledger.jsonl")]


def score(twin: Twin) -> Score:
    """Compare free run, forecasts and analyses with the truth."""
    places, times = places_to_score(twin), analysis_times(twin)
    errors = {}
    for variable in dict.fromkeys(network.variable for network in twin.networks):
        truth = values_at(dumps(twin, "truth"), times, places, variable)
        values = {FREE: values_at(dumps(twin, "free"), times, places, variable)}
        for cycle in twin.cycles:
            for kind, key in ((FORECAST, "forecast"), (ANALYSIS, "restart")):
                paths = restarts(twin, cycle, key)
                values[f"{cycle} {kind}"] = np.array([restart_values(twin, path, places, variable) for path in paths])
        norm = np.linalg.norm(truth, axis=1)
        errors[variable] = {kind: np.linalg.norm(v - truth, axis=1) / norm for kind, v in values.items()}
    return Score(times, tuple(twin.cycles), errors, len(places))


def present(twin: Twin, title: str, units: Mapping[str, str], say: Say) -> None:
    """Score a twin experiment, print the figures and write its page."""
    result = score(twin)
    write_page(twin, result, title, units)
    say(f"relative error at {result.n_places} places without sensors, mean over the last half of the windows:")
    for variable in result.errors:
        say(f"  {variable:12} {FREE} {result.mean(variable, FREE):.3f}")
        for cycle in result.cycles:
            errors = "  ".join(
                f"{kind} {result.mean(variable, f'{cycle} {kind}'):.3f}" for kind in (FORECAST, ANALYSIS)
            )
            say(f"  {'':12} {cycle}: {errors}   {result.gain(variable, cycle):.0%} below the free run")
    say(f"open {twin.run / 'report.html'}")


def show_parameters(twin: Twin, cycle: str, truth: Mapping[str, float], say: Say) -> None:
    """Print what a cycle says of some parameters after the last window, beside the truth."""
    with open(read_case(twin.cycles[cycle]).run / "parameters.csv", newline="", encoding="utf-8") as table:
        rows = {(row["name"], int(row["window"])): row for row in csv.DictReader(table)}
    say(f"{cycle}: after window {twin.windows}, mean ± standard deviation (of the prior), truth:")
    for name, true in truth.items():
        last, prior = rows[name, twin.windows], rows[name, 0]
        mean, std, before = float(last["mean"]), float(last["std"]), float(prior["std"])
        say(f"  {name:16} {mean:8.3f} ± {std:.3f} ({before:.3f})  {true:8.3f}")


def _picture(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def draw_errors(result: Score) -> Figure:
    """Errors over time, a panel for each variable, with one legend below them."""
    variables = list(result.errors)
    size = (4.4 * len(variables), 3.4 + 0.2 * len(result.cycles))
    figure, axes = plt.subplots(1, len(variables), figsize=size, squeeze=False, layout="constrained")
    for ax, variable in zip(axes[0], variables, strict=True):
        errors = result.errors[variable]
        ax.plot(result.times, errors[FREE], "o-", ms=3, color=GREY, label=FREE)
        for number, cycle in enumerate(result.cycles):
            colour = COLOURS[number % len(COLOURS)]
            for kind, line in ((FORECAST, "o:"), (ANALYSIS, "o-")):
                ax.plot(result.times, errors[f"{cycle} {kind}"], line, ms=3, color=colour, label=f"{cycle} {kind}")
        ax.set(title=variable, xlabel="time [s]", ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("‖x − truth‖ / ‖truth‖")
    # below the curves: there is no corner that some run of the demo leaves free
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _slice_picture(twin: Twin, variable: str, height: float, unit: str) -> str:
    """Truth, free run and analyses at one height at the last analysis time, with the sensors."""
    time = analysis_times(twin)[-1]
    truth = dumps(twin, "truth")
    x, y, places = slice_places(truth, height)
    shown = {
        "truth": values_at(truth, [time], places, variable)[0],
        FREE: values_at(dumps(twin, "free"), [time], places, variable)[0],
    }
    for cycle in twin.cycles:
        shown[f"{cycle} {ANALYSIS}"] = restart_values(twin, restarts(twin, cycle, "restart")[-1], places, variable)
    return _picture(draw_slices(x, y, shown, twin.sensors, f"{variable} {unit}"))


def slice_places(series: Series, height: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of a view from above: (240,) x, (180,) y and their (43200, 3) places at a height [m]."""
    low, high = next(iter(series.read(0).fields.values())).mesh.bounds(COMM)
    x, y = (np.linspace(low[i], high[i], n) for i, n in ((0, 240), (1, 180)))
    return (
        x,
        y,
        np.stack([*(g.ravel() for g in np.meshgrid(x, y, indexing="ij")), np.full(x.size * y.size, height)], axis=1),
    )


def draw_slices(
    x: np.ndarray, y: np.ndarray, shown: Mapping[str, np.ndarray], sensors: np.ndarray, label: str
) -> Figure:
    """Slices side by side on the colour scale of the first. shown : {name: values at `slice_places`}"""
    truth = next(iter(shown.values()))
    top = np.nanpercentile(truth, 99.5)
    bottom = min(0.0, np.nanpercentile(truth, 0.5))
    # at most three side by side, so that titles have room on a laptop's screen
    columns = len(shown) if len(shown) <= 3 else min(3, math.ceil(len(shown) / 2))
    rows = math.ceil(len(shown) / columns)
    size = (4.4 * columns, 3.4 * rows + 0.5)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout=ConstrainedLayoutEngine(h_pad=0.1)
    )
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax, (name, values) in zip(axes.flat, shown.items(), strict=False):
        ax.set_facecolor("#555555")  # buildings
        image = ax.pcolormesh(x, y, values.reshape(x.size, y.size).T, vmin=bottom, vmax=top, cmap="viridis")
        street = sensors[:, 2] < 10
        ax.plot(*sensors[street, :2].T, "o", mfc="none", mec="white", ms=4, label="sensor at street level")
        ax.plot(*sensors[~street, :2].T, "s", mfc="none", mec="white", ms=4, label="sensor on a roof")
        ax.set(title=textwrap.fill(name, 30), aspect="equal")
    for ax in axes[:, 0]:
        ax.set_ylabel("y [m]")
    for ax in axes[-1]:
        ax.set_xlabel("x [m]")
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    figure.legend(
        *axes.flat[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        facecolor="#555555",
        labelcolor="white",
    )
    return figure


def _table(result: Score, variable: str) -> str:
    """A variable's errors as HTML, one row for each window; a table of all variables would be too wide for a screen."""
    errors = result.errors[variable]
    kinds = [FREE, *(f"{cycle} {kind}" for cycle in result.cycles for kind in (FORECAST, ANALYSIS))]
    cycles = "".join(f'<th colspan="2">{html.escape(cycle)}</th>' for cycle in result.cycles)
    parts = f"<th>{FORECAST}</th><th>{ANALYSIS}</th>" * len(result.cycles)
    rows = "".join(
        f"<tr><td>{time:g}</td>" + "".join(f"<td>{errors[kind][k]:.3f}</td>" for kind in kinds) + "</tr>"
        for k, time in enumerate(result.times)
    )
    return (
        f'<h3>{html.escape(variable)}</h3><div class="wide"><table><thead><tr><th rowspan="2">time [s]</th>'
        f'<th rowspan="2">{FREE}</th>{cycles}</tr><tr>{parts}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def write_page(twin: Twin, result: Score, title: str, units: Mapping[str, str], height: float = 2.0) -> None:
    """Write one HTML file without links, and the numbers as JSON (figures.json)."""
    first = next(iter(result.errors))
    slices = "".join(
        f"<h2>{html.escape(v)} at {height:g} m, t = {result.times[-1]:g} s</h2>"
        f'<img alt="Slices of {html.escape(v)}: truth, free run, analyses" '
        f'src="data:image/png;base64,{_slice_picture(twin, v, height, units.get(v, ""))}">'
        for v in result.errors
    )
    gains = "".join(
        f"<li>{html.escape(c)}: "
        + ", ".join(f"{html.escape(v)} <strong>{result.gain(v, c):.0%}</strong>" for v in result.errors)
        + "</li>"
        for c in result.cycles
    )
    gained = (
        f"Over the last half of the windows the analyses' error is below the free run's by:</p><ul>{gains}</ul>"
        if gains
        else "No cycle has run yet.</p>"
    )
    curves = _picture(draw_errors(result))
    numbers = "".join(_table(result, variable) for variable in result.errors)
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}}
img{{max-width:100%;height:auto}}table{{border-collapse:collapse;font-size:.9rem}}
td,th{{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}}thead th{{text-align:center}}
.wide{{overflow-x:auto}}</style>
<h1>{html.escape(title)}</h1>
<p>{len(twin.sensors)} sensors, {twin.windows} windows of {twin.window:g} s. Errors are taken at {result.n_places}
random places below 40 m without sensors. {gained}
<h2>Error over time</h2><img alt="Relative errors over time" src="data:image/png;base64,{curves}">
{slices}
<h2>Numbers</h2>{numbers}</html>"""
    with whole_file(twin.run / "report.html") as beside:
        Path(beside).write_text(page, encoding="utf-8")
    figures = {
        "times": result.times.tolist(),
        "errors": {v: {kind: e.tolist() for kind, e in kinds.items()} for v, kinds in result.errors.items()},
        "gain_last_half": {c: {v: result.gain(v, c) for v in result.errors} for c in result.cycles},
        "headline": first,
    }
    with whole_file(twin.run / "figures.json") as beside:
        Path(beside).write_text(json.dumps(figures, indent=1))
