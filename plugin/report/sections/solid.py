"""The last increment among the buildings, in three dimensions: a picture, and a scene that can be turned around."""

import base64

import numpy as np
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from plugin.report.page.page import Chapter, Picture, Scene, Text
from plugin.report.page.svg import BUILDING
from plugin.report.scene.rendered import rendered
from plugin.report.scene.surfaces import surfaces

_DIGITS = 2  # of places [m]


def solid(run, fields):
    """The chapter.

    run : Run; fields : list of plugin.report.fields.Shown, the first of which is drawn
    """
    of = fields[0]
    sensors = np.unique(run.readings.position[run.readings.window == run.last["window"]], axis=0)
    shown = surfaces(of)
    changed = ", ".join(surface.name for surface in shown[1:]) or "not changed"
    told = f"{of.name} among the buildings in window {run.last['window']}: {changed}; and {len(sensors)} sensors"
    return Chapter(
        "solid",
        "Last increment in three dimensions",
        [
            _picture(*rendered(shown, sensors), told),
            Scene(scene(shown, sensors), Markup(get_plotlyjs()), f"{told}. Drag to turn it, scroll to come nearer."),
        ],
    )


def _picture(png, problem, told):
    if problem:
        return Text(
            f"There is no picture of this: {problem}. It takes OpenGL (Debian: libegl1, libgl1-mesa-dri).", "fair"
        )
    data = base64.b64encode(png).decode()
    return Picture(Markup(f'<img src="data:image/png;base64,{data}" alt="{escape(told)}">'), f"{told}.", wide=False)


def scene(shown, sensors):
    """{data, layout} of surfaces and (k, 3) sensors [m], as plotly.js takes them."""
    data = [
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


def _rounded(values):
    return np.round(values, _DIGITS).tolist()
