"""Innovations and residuals in time: of all sensors by variable, and of each one."""

import numpy as np

from da.diagnostics.statistics import numbered
from plugin.report.page.page import Chapter, PageTable, Picture
from plugin.report.page.svg import AFTER, BEFORE, BUILDING, WITHHELD, drawing, svg

_SHOWN = 12  # sensors that get a picture of their own
_LISTED = 400
_SPAN = 4.0  # standard deviations at the ends of the colour map


def timeline(run):
    """The chapter."""
    readings = run.readings
    seen = readings.select(readings.used | readings.withheld)
    if len(seen) == 0:
        return None
    blocks = [_by_variable(seen)]
    table, worst = _sensors(seen)
    blocks.append(_all_sensors(seen))
    blocks.append(_worst(seen, worst))
    blocks.append(table)
    return Chapter("timeline", "Sensors in time", blocks)


def _by_variable(of):
    names = np.unique(of.variable).tolist()
    with drawing(9.0, 2.6) as figure:
        for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
            for which, note, style in ((of.used, "", "-"), (of.withheld, ", withheld", "--")):
                mine = of.select(which & (of.variable == name))
                if len(mine) == 0:
                    continue
                for values, colour, label in (
                    (mine.innovation, BEFORE, "forecast"),
                    (mine.residual, AFTER, "analysis"),
                ):
                    time, rms = _rms_in_time(mine, values)
                    ax.plot(time, rms, style, marker=".", color=colour, label=label + note)
            ax.set(title=name, xlabel="time [s]", ylim=(0, None))
        figure.axes[0].set_ylabel("rms distance from readings")
        figure.axes[0].legend()
        told = "Root mean square distance of forecast and analysis from the readings over time, for " + ", ".join(names)
        return Picture(
            svg(figure, told), f"{told}, in their units. The sensors in use need not be the same throughout."
        )


def _rms_in_time(of, values):
    _, number = np.unique(of.window, return_inverse=True)
    count = np.bincount(number)
    return np.bincount(number, of.time) / count, np.sqrt(np.bincount(number, values**2) / count)


def _labels(of):
    return np.char.add(np.char.add(of.sensor, "  "), of.variable)


def _all_sensors(of):
    """Every sensor's departures as a row of colours, a column for each window."""
    names, row = numbered(_labels(of))
    first, last = of.window.min(), of.window.max()
    shape, at = (len(names), last - first + 1), (row, of.window - first)
    with drawing(9.0, float(np.clip(0.6 + 0.13 * len(names), 2.2, 9.0))) as figure:
        for ax, values, title in zip(
            figure.subplots(1, 2, sharey=True), (of.innovation, of.residual), ("forecast", "analysis")
        ):
            # the mean of a sensor that tells several times in a window
            count, total = np.zeros(shape), np.zeros(shape)
            np.add.at(count, at, 1.0)
            np.add.at(total, at, values / of.error)
            image = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
            extent = first - 0.5, last + 0.5, -0.5, len(names) - 0.5
            drawn = ax.imshow(
                image, cmap="RdBu_r", vmin=-_SPAN, vmax=_SPAN, aspect="auto", extent=extent, interpolation="none"
            )
            ax.set(title=title, xlabel="window")
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.grid(False)
            ax.set_facecolor(BUILDING)
        step = -(-len(names) // 60)
        figure.axes[0].set_yticks(range(0, len(names), step), names[::step], fontsize=6, parse_math=False)
        figure.colorbar(drawn, ax=figure.axes, label="(reading − model) / σ_o", extend="both", aspect=40)
        told = f"Departures of {len(names)} sensors' readings from forecast and analysis in windows {first} to {last}"
        return Picture(svg(figure, told), f"{told}, in standard deviations of the readings. Grey: no reading.")


def _worst(of, labels):
    """Pictures of the sensors whose readings the forecast misses most."""
    label, columns = _labels(of), 3
    with drawing(9.0, 1.7 * -(-len(labels) // columns)) as figure:
        grid = figure.subplots(-(-len(labels) // columns), columns, squeeze=False, sharex=True).ravel()
        for ax in grid[len(labels) :]:
            ax.remove()
        for ax, name in zip(grid, labels):
            mine = of.select(label == name)
            ax.axhline(0.0, color=BUILDING, lw=0.8)
            kind = ", withheld" if mine.withheld.any() else ""
            ax.plot(mine.time, mine.innovation, ".-", color=BEFORE, lw=0.8, label="reading − forecast")
            ax.plot(
                mine.time, mine.residual, ".-", color=WITHHELD if kind else AFTER, lw=0.8, label="reading − analysis"
            )
            ax.set_title(name + kind, fontsize=8, parse_math=False)
        figure.axes[0].legend(fontsize=7)
        figure.supxlabel("time [s]", fontsize=9)
        told = f"Departures in time of the {len(labels)} sensors that the forecasts miss most: {', '.join(labels)}"
        return Picture(svg(figure, told), told + ".")


def _sensors(of):
    """(PageTable of all sensors, the labels of those whose innovations are largest)."""
    names, number = numbered(_labels(of))
    count = np.bincount(number)

    def mean(values):
        return np.bincount(number, values) / count

    spread = np.sqrt(mean((of.innovation / of.error) ** 2))
    order = np.argsort(-spread, kind="stable")
    first = np.unique(number, return_index=True)[1]
    columns = (mean(of.innovation), np.sqrt(mean(of.innovation**2)), mean(of.residual), np.sqrt(mean(of.residual**2)))
    rows = [
        (
            str(of.sensor[first[k]]),
            str(of.variable[first[k]]),
            "withheld" if of.withheld[first[k]] else "used",
            int(count[k]),
            *(float(values[k]) for values in columns),
            float(spread[k]),
        )
        for k in order[:_LISTED]
    ]
    heads = (
        "station", "variable", "is", "readings", "mean of forecast", "rms of forecast", "mean of analysis",
        "rms of analysis", "rms of forecast / σ_o",
    )  # fmt: skip
    caption = "Reading − model by sensor: a mean that stays tells of a bias"
    if len(names) > _LISTED:
        caption += f" ({_LISTED} of {len(names)}, the worst first)"
    return PageTable(caption, heads, rows, 2), [names[k] for k in order[:_SHOWN]]
