"""Surfaces and sensors as a picture, off screen: python -m plugin.report.scene.render SCENE.npz PICTURE.png"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyvista

from plugin.report.page.svg import BUILDING
from plugin.report.scene.surfaces import Surface

SIZE = 1100, 620
_SENSOR, _EDGE = "#d4a017", "#303030"
_RADIUS = 0.006  # of the scene's diagonal
_CORNER = 30.0  # degrees between faces that make an edge


def draw(surfaces: Sequence[Surface], sensors: np.ndarray, path: Path) -> None:
    """Draw the picture in this process; RuntimeError where VTK finds no OpenGL and does not crash for want of it."""
    plotter = pyvista.Plotter(off_screen=True, window_size=list(SIZE), lighting="light kit")
    plotter.enable_anti_aliasing("msaa", multi_samples=8)
    if plotter.render_window is None or not plotter.render_window.SupportsOpenGL():
        raise RuntimeError("VTK finds no OpenGL")
    for surface in surfaces:
        mesh = pyvista.PolyData.from_regular_faces(surface.points, surface.triangles)
        plotter.add_mesh(
            mesh, surface.colour, ambient=0.3, smooth_shading=True, split_sharp_edges=True, feature_angle=_CORNER
        )
        if surface.colour == BUILDING:
            plotter.add_mesh(mesh.extract_feature_edges(_CORNER), _EDGE, line_width=1.0, ambient=0.3)
    diagonal = float(np.linalg.norm(np.ptp(surfaces[0].points, axis=0)))
    if len(sensors):
        spheres = pyvista.PolyData(sensors).glyph(geom=pyvista.Sphere(_RADIUS * diagonal), scale=False, orient=False)
        plotter.add_mesh(spheres, _SENSOR, ambient=0.3)
    left_and_front = (-1.0, -1.3, 1.1)
    plotter.view_vector(left_and_front, (0.0, 0.0, 1.0))  # type: ignore[arg-type]  # PyVista's decorator keeps self in the type
    plotter.renderer.ResetCameraScreenSpace(0.95)
    plotter.screenshot(path, transparent_background=True)


def main(scene: str, picture: str) -> None:
    """Draw a scene that `rendered` wrote."""
    with np.load(scene, allow_pickle=False) as arrays:
        surfaces = [
            Surface(arrays[f"points{k}"], arrays[f"triangles{k}"], str(colour), "")
            for k, colour in enumerate(arrays["colours"])
        ]
        draw(surfaces, arrays["sensors"], Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
