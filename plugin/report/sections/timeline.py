"""Innovations and residuals in time, by variable and by sensor."""

from collections.abc import Sequence

import numpy as np

from coupling.common.text import counted
from da.diagnostics.statistics import numbered
from plugin.report.page.page import Block, Picture, Section, SortableTable, short
from plugin.report.page.svg import AFTER, BEFORE, BUILDING, WITHHELD, drawing, svg
from plugin.report.run import Readings, Run

_SHOWN = 12  # sensors with a picture of their own
_LISTED = 400
_SPAN = 4.0  # standard deviations at the ends of the colour map


def timeline(run: Run) -> Section | None:
    """The section; None where no reading was used or withheld."""
    readings = run.readings
    compared = readings.select(readings.used | readings.withheld)
    if len(compared) == 0:
        return None
    table, worst = _sensors(compared)
    blocks: list[Block] = [_by_variable(compared), _all_sensors(compared), _worst(compared, worst), table]
    return Section("timeline", "Sensors in time", blocks)


def _by_variable(readings: Readings) -> Picture:
    names = np.unique(readings.variable).tolist()
    with drawing(9.0, 2.6) as figure:
        for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for which, note, style in ((readings.used, "", "-"), (readings.withheld, ", withheld", "--")):
                some = readings.select(which & (readings.variable == name))
                if len(some) == 0:
                    continue
                for values, colour, label in (
                    (some.innovation, BEFORE, "forecast"),
                    (some.residual, AFTER, "analysis"),
                ):
                    time, rms = _rms_in_time(some, values)
                    ax.plot(time, rms, style, marker=".", color=colour, label=label + note)
            ax.set(title=name, xlabel="time [s]", ylim=(0, None))
        figure.axes[0].set_ylabel("rms distance from readings")
        figure.axes[0].legend()
        caption = "Root mean square distance of forecast and analysis from the readings over time, for " + ", ".join(
            names
        )
        return Picture(
            svg(figure, caption), f"{caption}, in their units. The sensors in use may change from window to window."
        )


def _rms_in_time(readings: Readings, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, number = np.unique(readings.window, return_inverse=True)
    count = np.bincount(number)
    return np.bincount(number, readings.time) / count, np.sqrt(np.bincount(number, values**2) / count)


def _labels(readings: Readings) -> np.ndarray:
    return np.char.add(np.char.add(readings.sensor, "  "), readings.variable)


def _all_sensors(readings: Readings) -> Picture:
    """Innovations and residuals as colours: a row for each sensor, a column for each window."""
    names, row = numbered(_labels(readings))
    first, last = readings.window.min(), readings.window.max()
    shape, at = (len(names), last - first + 1), (row, readings.window - first)
    with drawing(9.0, float(np.clip(0.6 + 0.13 * len(names), 2.2, 9.0))) as figure:
        for ax, values, title in zip(
            figure.subplots(1, 2, sharey=True),
            (readings.innovation, readings.residual),
            ("forecast", "analysis"),
            strict=True,
        ):
            # the mean of a sensor with several readings in a window
            count, total = np.zeros(shape), np.zeros(shape)
            np.add.at(count, at, 1.0)
            np.add.at(total, at, values / readings.error)
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
        figure.axes[0].set_yticks(
            range(0, len(names), step), [short(name) for name in names[::step]], fontsize=6, parse_math=False
        )
        figure.colorbar(drawn, ax=figure.axes, label="(reading − model) / σ_o", extend="both", aspect=40)
        of, within = counted(len(names), "sensor"), f"windows {first} to {last}" if last > first else f"window {first}"
        caption = f"Innovations and residuals of {of} in {within}"
        return Picture(svg(figure, caption), f"{caption}, in standard deviations of the readings. Grey: no reading.")


def _worst(readings: Readings, labels: Sequence[str]) -> Picture:
    """Innovations and residuals of the sensors whose innovations are largest."""
    label, columns = _labels(readings), 3
    with drawing(9.0, 1.7 * -(-len(labels) // columns)) as figure:
        grid = figure.subplots(-(-len(labels) // columns), columns, squeeze=False, sharex=True).ravel()
        for ax in grid[len(labels) :]:
            ax.remove()
        for ax, name in zip(grid, labels, strict=False):
            own = readings.select(label == name)
            ax.axhline(0.0, color=BUILDING, lw=0.8)
            kind = ", withheld" if own.withheld.any() else ""
            ax.plot(own.time, own.innovation, ".-", color=BEFORE, lw=0.8, label="reading − forecast")
            ax.plot(own.time, own.residual, ".-", color=WITHHELD if kind else AFTER, lw=0.8, label="reading − analysis")
            ax.set_title(short(name) + kind, fontsize=8, parse_math=False)
        figure.axes[0].legend(fontsize=7)
        figure.supxlabel("time [s]", fontsize=9)
        which = "sensor with the largest innovation" if len(labels) == 1 else "sensors with the largest innovations"
        number = "" if len(labels) == 1 else f"{len(labels)} "
        caption = f"The {number}{which}, in time: {', '.join(map(short, labels))}"
        return Picture(svg(figure, caption), caption + ".")


def _sensors(readings: Readings) -> tuple[SortableTable, list[str]]:
    """(table of all sensors, the labels of those whose innovations are largest)."""
    names, number = numbered(_labels(readings))
    count, withheld = np.bincount(number), readings.withheld

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(number, values) / count

    spread = np.sqrt(mean((readings.innovation / readings.error) ** 2))
    order = np.argsort(-spread, kind="stable")
    first = np.unique(number, return_index=True)[1]
    columns = (
        mean(readings.innovation),
        np.sqrt(mean(readings.innovation**2)),
        mean(readings.residual),
        np.sqrt(mean(readings.residual**2)),
    )
    rows = [
        (
            short(str(readings.sensor[first[k]])),
            str(readings.variable[first[k]]),
            "withheld" if withheld[first[k]] else "used",
            int(count[k]),
            *(float(values[k]) for values in columns),
            float(spread[k]),
        )
        for k in order[:_LISTED]
    ]
    heads = (
        "station", "variable", "use", "readings", "mean of forecast", "rms of forecast", "mean of analysis",
        "rms of analysis", "rms of forecast / σ_o",
    )  # fmt: skip
    caption = "Reading − model by sensor: a mean that persists is a bias"
    if len(names) > _LISTED:
        caption += f" ({_LISTED} of {len(names)}, the worst first)"
    return SortableTable(caption, heads, rows, 2), [names[k] for k in order[:_SHOWN]]
