"""The last analysis from above, at the height of the street, and from the side."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.geometry.interpolation import multiply, sampling
from plugin.report.page.page import Chapter, Picture, Text
from plugin.report.page.svg import BUILDING, drawing, svg

STREET = 2.0  # m above the lowest point of the mesh
_PIXELS = 240  # along the longer side of a slice
_NEAR = 10.0  # m: sensors this near to the street's slice are drawn in it


@dataclass(frozen=True)
class Plane:
    """Places of a slice through the mesh.

    axes : the two coordinates it extends in; fixed : the third, at `at` [m]
    extent : left, right, bottom, top [m]
    shape : rows, columns; places : (rows · columns, 3) [m]
    """

    axes: tuple[int, int]
    fixed: int
    at: float
    extent: tuple[float, float, float, float]
    shape: tuple[int, int]
    places: np.ndarray


def plane(box, fixed, at):
    """The slice of a (2, 3) box [m] where coordinate `fixed` is `at`; places are in the middle of its pixels."""
    axes = tuple(k for k in range(3) if k != fixed)
    low, high = np.asarray(box, float)
    size = high - low
    columns, rows = (int(np.ceil(_PIXELS * size[k] / size[list(axes)].max())) for k in axes)
    places = np.full((rows, columns, 3), float(at))
    places[..., axes[0]] = low[axes[0]] + size[axes[0]] * (np.arange(columns) + 0.5) / columns
    places[..., axes[1]] = (low[axes[1]] + size[axes[1]] * (np.arange(rows) + 0.5) / rows)[:, None]
    extent = tuple(float(end[k]) for k in axes for end in (low, high))
    return Plane(axes, fixed, float(at), extent, (rows, columns), places.reshape(-1, 3))


class Cutter:
    """Cuts fields by planes; where the places of a plane lie in a mesh is looked for once."""

    def __init__(self):
        self._made = {}

    def cut(self, mesh, location, values, plane):
        """(rows, columns) of (n,) values; NaN outside the mesh, as in buildings."""
        key = mesh.fingerprint, location, plane.fixed, plane.at
        if key not in self._made:
            self._made[key] = sampling(mesh, location, plane.places, MPI.COMM_SELF)
        matrix, inside = self._made[key]
        return np.where(inside, multiply(matrix, values), np.nan).reshape(plane.shape)


def slices(run, fields):
    """The chapter.

    run : Run; fields : list of plugin.report.fields.Shown
    """
    first = fields[0]
    box = np.array([first.mesh.points.min(axis=0), first.mesh.points.max(axis=0)])
    street = plane(box, 2, box[0, 2] + min(STREET, 0.1 * (box[1, 2] - box[0, 2])))
    places = first.mesh.points if first.location == "point" else first.mesh.centroids
    most = places[np.argmax(np.abs(first.increment))]
    margin = 0.02 * np.ptp(box[:, 1])  # at the box's own side there would be nothing to see
    side = plane(box, 1, np.clip(most[1], box[0, 1] + margin, box[1, 1] - margin))
    cutter, now = Cutter(), run.readings.select(run.readings.window == run.last["window"])
    blocks = [
        Text(
            f"Window {run.last['window']}, t = {run.last['time']:g} s: from above at z = {street.at:.3g} m, and from "
            f"the side at y = {side.at:.4g} m (dotted line), where {first.name} is changed most. Grey is what the mesh "
            "leaves out: buildings. Circles: sensors that were used; triangles: others."
        )
    ]
    blocks += [_picture(of, cutter, street, side, now, run.last["time"]) for of in fields]
    return Chapter("fields", "Last analysis in the streets", blocks)


def _picture(of, cutter, street, side, readings, time):
    """A row for each plane, with scales of its own: winds aloft would hide those in the street."""
    fields = {name: (of.mesh, of.location, getattr(of, name)) for name in ("background", "increment", "analysis")}
    if of.std is not None:
        fields["standard deviation"] = of.std.mesh, of.std.location, of.std.values
    ratios = [max((p.extent[3] - p.extent[2]) / (p.extent[1] - p.extent[0]), 0.1) for p in (street, side)]
    with drawing(3.0 * len(fields), 2.8 * sum(ratios) + 1.5) as figure:
        axes = figure.subplots(2, len(fields), squeeze=False, height_ratios=ratios)
        for row, where in zip(axes, (street, side)):
            cuts = {name: cutter.cut(*field, where) for name, field in fields.items()}
            limits = _limits(cuts)
            for ax, (name, cut) in zip(row, cuts.items()):
                low, high, colours = limits[name]
                drawn = ax.imshow(
                    cut, cmap=colours, vmin=low, vmax=high, extent=where.extent, interpolation="none", aspect="equal"
                )
                figure.colorbar(drawn, ax=ax, location="bottom", shrink=0.9, aspect=30).ax.tick_params(labelsize=7)
                ax.set_facecolor(BUILDING)
                ax.grid(False)
                ax.tick_params(labelsize=7)
        for ax, name in zip(axes[0], fields):
            ax.set_title(name)
            ax.axhline(side.at, color="#808080", lw=0.8, ls=":")
            _sensors(ax, readings, of.name, street.at)
        axes[0, 0].set_ylabel("y [m]")
        axes[1, 0].set_ylabel("z [m]")
        told = (
            f"{of.name} at {time:g} s: background between {of.background.min():.3g} and {of.background.max():.3g}, "
            f"increment between {of.increment.min():.3g} and {of.increment.max():.3g}"
        )
        if of.std is not None:
            told += f", standard deviation of the analysis up to {of.std.values.max():.3g}"
        return Picture(svg(figure, f"Slices of {told}"), told + ", on the whole mesh.")


def _limits(cuts):
    """{name: (lowest, highest, colours)}: background and analysis share theirs, the increment's are even."""
    shown = {name: cut[np.isfinite(cut)] for name, cut in cuts.items()}
    both = np.concatenate([shown["background"], shown["analysis"]])
    low, high = np.percentile(both, [0.5, 99.5]) if len(both) else (0.0, 1.0)
    change = np.percentile(np.abs(shown["increment"]), 99.5) if len(both) else 0.0
    found = {"background": (low, high, "viridis"), "analysis": (low, high, "viridis")}
    found["increment"] = -(change or 1.0), change or 1.0, "RdBu_r"
    if "standard deviation" in shown:
        found["standard deviation"] = 0.0, np.max(shown["standard deviation"], initial=0.0) or 1.0, "magma"
    return found


def _sensors(ax, readings, variable, height):
    near = (np.abs(readings.position[:, 2] - height) <= _NEAR) & (readings.variable == variable)
    for of, mark in ((near & readings.used, "o"), (near & ~readings.used, "^")):
        ax.plot(*readings.position[of, :2].T, mark, ms=3.5, mfc="none", mec="white", mew=1.4)
        ax.plot(*readings.position[of, :2].T, mark, ms=3.5, mfc="none", mec="black", mew=0.6)
