"""The last analysis from above, at street level, and from the side.

matplotlib draws the slices and not PyVista: as SVG they keep axes, scales and letters in the page's own colour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from mpi4py import MPI
from numpy.typing import ArrayLike

from coupling.geometry.interpolation import multiply, sampling
from coupling.geometry.mesh import AnyMesh, is_flat
from plugin.report.fields import VariableFields
from plugin.report.members import has_members
from plugin.report.page.page import Block, Picture, Section, Text
from plugin.report.page.svg import BUILDING, drawing, svg
from plugin.report.run import Readings, Run

STREET = 2.0  # m above the lowest point of the mesh
_PIXELS = 240  # along the longer side of a slice
_NEAR = 10.0  # m: sensors this close to the slice at street level are drawn in it


@dataclass(frozen=True)
class Plane:
    """Points of a slice through the mesh.

    axes : its two coordinates; fixed : the third, which is `at` [m]
    extent : left, right, bottom, top [m]
    shape : rows, columns; places : (rows · columns, 3) [m]
    """

    axes: tuple[int, int]
    fixed: int
    at: float
    extent: tuple[float, float, float, float]
    shape: tuple[int, int]
    places: np.ndarray


def plane(box: ArrayLike, fixed: int, at: float) -> Plane:
    """The slice of a (2, 3) box [m] where coordinate `fixed` is `at`; places are the centres of its pixels."""
    first, second = axes = [k for k in range(3) if k != fixed]
    low, high = np.asarray(box, float)
    size = high - low
    columns, rows = (int(np.ceil(_PIXELS * size[k] / size[axes].max())) for k in axes)
    places = np.full((rows, columns, 3), float(at))
    places[..., first] = low[first] + size[first] * (np.arange(columns) + 0.5) / columns
    places[..., second] = (low[second] + size[second] * (np.arange(rows) + 0.5) / rows)[:, None]
    extent = float(low[first]), float(high[first]), float(low[second]), float(high[second])
    return Plane((first, second), fixed, float(at), extent, (rows, columns), places.reshape(-1, 3))


class Cutter:
    """Cuts fields by planes; the places of a plane are located in a mesh once."""

    def __init__(self) -> None:
        self._samplings: dict[tuple, tuple] = {}

    def cut(self, mesh: AnyMesh, location: str, values: np.ndarray, plane: Plane) -> np.ndarray:
        """(rows, columns) of (n,) values; NaN outside the mesh, for example in buildings."""
        key = mesh.fingerprint, location, plane.fixed, plane.at
        if key not in self._samplings:
            self._samplings[key] = sampling(mesh, location, plane.places, MPI.COMM_SELF)
        matrix, inside = self._samplings[key]
        return np.where(inside, multiply(matrix, values), np.nan).reshape(plane.shape)


def slices(run: Run, fields: Sequence[VariableFields]) -> Section:
    """The section."""
    first = fields[0]
    box = np.array([first.mesh.points.min(axis=0), first.mesh.points.max(axis=0)])
    street = plane(box, 2, box[0, 2] + min(STREET, 0.1 * (box[1, 2] - box[0, 2])))
    if is_flat(first.mesh):
        words = f"Window {run.last['window']}, t = {run.last['time']:g} s. Grey: outside the mesh. {_MARKS}"
        return _section(run, fields, (street,), words)
    places = first.mesh.points if first.location == "point" else first.mesh.centroids
    most = places[np.argmax(np.abs(first.increment))]
    margin = 0.02 * np.ptp(box[:, 1])  # a slice in the box's own face would be empty
    side = plane(box, 1, np.clip(most[1], box[0, 1] + margin, box[1, 1] - margin))
    words = (
        f"Window {run.last['window']}, t = {run.last['time']:g} s: from above at z = {street.at:.3g} m, and from "
        f"the side at y = {side.at:.4g} m (dotted line), where {first.name} changes most. Grey: outside the "
        f"mesh, that is, buildings. {_MARKS}"
    )
    return _section(run, fields, (street, side), words)


_MARKS = "Circles: sensors that were used; triangles: others."


def _section(run: Run, fields: Sequence[VariableFields], planes: Sequence[Plane], words: str) -> Section:
    cutter, now = Cutter(), run.readings.select(run.readings.window == run.last["window"])
    if has_members(run):
        words += " Background and analysis are means of the members, the deviation is theirs."
    blocks: list[Block] = [Text(words)]
    blocks += [_picture(variable, cutter, planes, now, run.last["time"]) for variable in fields]
    return Section("fields", "Last analysis in the streets", blocks)


def _picture(
    shown: VariableFields, cutter: Cutter, planes: Sequence[Plane], readings: Readings, time: float
) -> Picture:
    """A row for each plane, with scales of its own: winds aloft would hide those in the street."""
    names = ("background", "increment", "analysis")
    fields = {name: (shown.mesh, shown.location, getattr(shown, name)) for name in names}
    if shown.std is not None:
        fields["standard deviation"] = shown.std.mesh, shown.std.location, shown.std.values
    ratios = [max((p.extent[3] - p.extent[2]) / (p.extent[1] - p.extent[0]), 0.1) for p in planes]
    with drawing(3.0 * len(fields), 2.8 * sum(ratios) + 1.5) as figure:
        axes = figure.subplots(len(planes), len(fields), squeeze=False, height_ratios=ratios)
        for row, place in zip(axes, planes, strict=True):
            cuts = {name: cutter.cut(*field, place) for name, field in fields.items()}
            limits = _limits(cuts)
            for ax, (name, cut) in zip(row, cuts.items(), strict=True):
                low, high, colours = limits[name]
                drawn = ax.imshow(
                    cut, cmap=colours, vmin=low, vmax=high, extent=place.extent, interpolation="none", aspect="equal"
                )
                figure.colorbar(drawn, ax=ax, location="bottom", shrink=0.9, aspect=30).ax.tick_params(labelsize=7)
                ax.set_facecolor(BUILDING)
                ax.grid(False)
                ax.tick_params(labelsize=7)
        for ax, name in zip(axes[0], fields, strict=True):
            ax.set_title(name)
            for side in planes[1:]:
                ax.axhline(side.at, color="#808080", lw=0.8, ls=":")
            _sensors(ax, readings, shown.name, planes[0].at)
        for row, label in zip(axes, ("y [m]", "z [m]"), strict=False):
            row[0].set_ylabel(label)
        caption = (
            f"{shown.name} at {time:g} s: background {shown.background.min():.3g} to {shown.background.max():.3g}, "
            f"increment {shown.increment.min():.3g} to {shown.increment.max():.3g}"
        )
        if shown.std is not None:
            caption += f", standard deviation of the analysis up to {shown.std.values.max():.3g}"
        return Picture(svg(figure, f"Slices of {caption}"), caption + ", over the whole mesh.")


def _limits(cuts: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float, str]]:
    """{name: (lowest, highest, colour map)}: background and analysis share theirs; the increment's is symmetric."""
    finite = {name: cut[np.isfinite(cut)] for name, cut in cuts.items()}
    both = np.concatenate([finite["background"], finite["analysis"]])
    low, high = np.percentile(both, [0.5, 99.5]) if len(both) else (0.0, 1.0)
    change = np.percentile(np.abs(finite["increment"]), 99.5) if len(both) else 0.0
    limits = {"background": (low, high, "viridis"), "analysis": (low, high, "viridis")}
    limits["increment"] = -(change or 1.0), change or 1.0, "RdBu_r"
    if "standard deviation" in finite:
        limits["standard deviation"] = 0.0, np.max(finite["standard deviation"], initial=0.0) or 1.0, "magma"
    return limits


def _sensors(ax: Axes, readings: Readings, variable: str, height: float) -> None:
    near = (np.abs(readings.position[:, 2] - height) <= _NEAR) & (readings.variable == variable)
    for which, mark in ((near & readings.used, "o"), (near & ~readings.used, "^")):
        ax.plot(*readings.position[which, :2].T, mark, ms=3.5, mfc="none", mec="white", mew=1.4)
        ax.plot(*readings.position[which, :2].T, mark, ms=3.5, mfc="none", mec="black", mew=0.6)
