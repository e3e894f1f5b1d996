"""Where a limit is exceeded, by how many of the members: `report.exceed`."""

from collections.abc import Sequence

import numpy as np

from coupling.geometry.mesh import is_flat
from plugin.report.members import Exceedance
from plugin.report.page.page import Block, Picture, Section
from plugin.report.page.svg import BUILDING, drawing, svg
from plugin.report.run import Run
from plugin.report.sections.slices import STREET, Cutter, plane


def exceedance(run: Run, of: Sequence[Exceedance]) -> Section | None:
    """The section; None where the case asks for none."""
    if not of:
        return None
    blocks: list[Block] = [_picture(one, run.last["time"]) for one in of]
    return Section("exceedance", "Where is it dangerous?", blocks)


def _picture(of: Exceedance, time: float) -> Picture:
    """From above at street level, and the largest probability at some heights; of a flat mesh itself."""
    box = np.array([of.mesh.points.min(axis=0), of.mesh.points.max(axis=0)])
    height = float(np.ptp(box[:, 2]))
    flat = is_flat(of.mesh)
    above = [0.0] if flat else [min(STREET, 0.1 * height), *(part * height for part in (0.25, 0.5, 0.75, 0.95))]
    cutter, cuts = Cutter(), []
    for at in above:
        street = plane(box, 2, box[0, 2] + at)
        cuts.append(cutter.cut(of.mesh, of.location, of.probability, street))
    levels = np.array(cuts)
    any_height = np.where(np.isnan(levels).all(axis=0), np.nan, np.nanmax(np.nan_to_num(levels, nan=-1.0), axis=0))
    shown = {"": cuts[0]} if flat else {"in the street": cuts[0], "at any height": any_height}
    ratio = max((street.extent[3] - street.extent[2]) / (street.extent[1] - street.extent[0]), 0.1)
    with drawing(9.0, 4.2 * ratio + 1.2) as figure:
        axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for ax, (title, cut) in zip(axes, shown.items(), strict=True):
            drawn = ax.imshow(
                cut, cmap="YlOrRd", vmin=0.0, vmax=1.0, extent=street.extent, interpolation="none", aspect="equal"
            )
            ax.set(title=title, xlabel="x [m]")
            ax.set_facecolor(BUILDING)
            ax.grid(False)
        axes[0].set_ylabel("y [m]")
        figure.colorbar(drawn, ax=figure.axes, label="part of the members", aspect=30)
        sure = float(np.mean(of.probability > 0.5))
        caption = f"Probability that {of.name} exceeds {of.limit:g} at {time:g} s"
        text = f"{caption}: the part of the members; it is above one half at {sure:.1%} of the mesh's nodes."
        if not flat:
            heights = ", ".join(f"{at:.3g}" for at in above)
            text += f" At any height: the largest at {heights} m above the lowest point."
        return Picture(svg(figure, caption), f"{text} Grey: outside the mesh.")
