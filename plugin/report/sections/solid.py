"""The last increment among the buildings, in three dimensions: a picture, and a scene that turns."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from coupling.common.text import counted
from coupling.geometry.mesh import is_flat
from plugin.report.fields import VariableFields
from plugin.report.page.page import Block, Picture, Scene, Section, Text
from plugin.report.page.svg import BUILDING
from plugin.report.run import Run
from plugin.report.scene.rendered import rendered
from plugin.report.scene.surfaces import Surface, surfaces

_TITLE = "Last increment in three dimensions"
_DIGITS = 2  # decimals of coordinates [m]


def solid(run: Run, fields: Sequence[VariableFields]) -> Section:
    """The section; it shows the first of the fields."""
    variable = fields[0]
    if is_flat(variable.mesh):
        return Section("solid", _TITLE, [Text("The mesh has two dimensions: the last analysis above shows all of it.")])
    sensors = np.unique(run.readings.position[run.readings.window == run.last["window"]], axis=0)
    shown = surfaces(variable)
    changed = ", ".join(surface.name for surface in shown[1:]) or "not changed"
    caption = f"{variable.name} among the buildings in window {run.last['window']}: {changed}; "
    caption += counted(len(sensors), "sensor")
    return Section(
        "solid",
        _TITLE,
        [
            _picture(*rendered(shown, sensors), caption),
            Scene(scene(shown, sensors), Markup(get_plotlyjs()), f"{caption}. Drag to turn, scroll to zoom."),
        ],
    )


def _picture(png: bytes, problem: str, caption: str) -> Block:
    if problem:
        return Text(
            f"There is no picture here: {problem}. Drawing needs OpenGL (Debian: libegl1, libgl1-mesa-dri).", "fair"
        )
    data = base64.b64encode(png).decode()
    return Picture(
        Markup(f'<img src="data:image/png;base64,{data}" alt="{escape(caption)}">'), f"{caption}.", wide=False
    )


def scene(shown: Sequence[Surface], sensors: np.ndarray) -> dict[str, Any]:
    """{data, layout} of surfaces and (k, 3) sensors [m], as plotly.js takes them."""
    data: list[dict[str, Any]] = [
        {
            "type": "mesh3d",
            **{axis: _rounded(surface.points[:, k]) for k, axis in enumerate("xyz")},
            **{corner: surface.triangles[:, k].tolist() for k, corner in enumerate("ijk")},
            "color": surface.colour,
            "opacity": 1.0 if surface.colour == BUILDING else 0.6,
            "flatshading": surface.colour == BUILDING,
            "name": surface.name,
            "showlegend": True,
            "hoverinfo": "name",
        }
        for surface in shown
    ]
    places = {axis: _rounded(sensors[:, k]) for k, axis in enumerate("xyz")}
    marks = {"marker": {"size": 4, "color": "#d4a017"}, "mode": "markers", "name": "sensors"}
    data.append({"type": "scatter3d", **places, **marks})
    axes = {f"{axis}axis": {"title": {"text": f"{axis} [m]"}} for axis in "xyz"}
    layout = {
        "scene": {"aspectmode": "data", "camera": {"eye": {"x": -1.4, "y": -1.7, "z": 1.2}}, **axes},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "margin": dict.fromkeys("lrtb", 0),
        "legend": {"orientation": "h"},
    }
    return {"data": data, "layout": layout}


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, _DIGITS).tolist()
