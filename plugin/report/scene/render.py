"""Surfaces and sensors as a picture, by VTK without a screen: python -m plugin.report.scene.render SCENE.npz PICTURE.png"""

import sys

import numpy as np
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 VTK's rendering is looked for when a window is made
from matplotlib.colors import to_rgb
from vtkmodules.vtkFiltersCore import vtkAppendPolyData, vtkFeatureEdges, vtkPolyDataNormals
from vtkmodules.vtkFiltersSources import vtkSphereSource
from vtkmodules.vtkIOImage import vtkPNGWriter
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkLightKit,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from plugin.report.page.svg import BUILDING
from plugin.report.scene.surfaces import Surface, after, as_polydata

SIZE = 1100, 620
_SENSOR, _EDGE = "#d4a017", "#303030"
_RADIUS = 0.006  # of the scene's diagonal
_CORNER = 30.0  # degrees between faces that make an edge


def draw(surfaces, sensors, path):
    """Draw the picture in this process; RuntimeError where VTK finds no OpenGL, if it comes that far."""
    window, renderer = vtkRenderWindow(), vtkRenderer()
    window.SetOffScreenRendering(True)
    window.SetAlphaBitPlanes(True)
    window.SetMultiSamples(8)
    window.SetSize(*SIZE)
    if not window.SupportsOpenGL():
        raise RuntimeError("VTK finds no OpenGL")
    window.AddRenderer(renderer)
    renderer.SetBackgroundAlpha(0.0)
    vtkLightKit().AddLightsToRenderer(renderer)
    for surface in surfaces:
        polydata = as_polydata(surface.points, surface.triangles)
        renderer.AddActor(_actor(_with_normals(polydata), surface.colour))
        if surface.colour == BUILDING:
            renderer.AddActor(_actor(_edges(polydata), _EDGE))
    size = float(np.linalg.norm(np.ptp(surfaces[0].points, axis=0)))
    if len(sensors):
        renderer.AddActor(_actor(_spheres(sensors, _RADIUS * size), _SENSOR))
    camera = renderer.GetActiveCamera()
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.SetPosition(-1.0, -1.3, 1.1)  # from the left and the front
    renderer.ResetCamera()
    renderer.ResetCameraScreenSpace(0.95)
    window.Render()
    _write(window, path)


def _actor(polydata, colour):
    mapper, actor = vtkPolyDataMapper(), vtkActor()
    mapper.SetInputData(polydata)
    mapper.ScalarVisibilityOff()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*to_rgb(colour))
    actor.GetProperty().SetAmbient(0.3)
    return actor


def _with_normals(polydata):
    normals = vtkPolyDataNormals()
    normals.SetFeatureAngle(_CORNER)
    return after(normals, polydata)


def _edges(polydata):
    edges = vtkFeatureEdges()
    edges.SetFeatureAngle(_CORNER)
    edges.ColoringOff()
    return after(edges, polydata)


def _spheres(places, radius):
    every = vtkAppendPolyData()
    for place in places:
        sphere = vtkSphereSource()
        sphere.SetCenter(*place)
        sphere.SetRadius(radius)
        sphere.Update()
        every.AddInputData(sphere.GetOutput())
    every.Update()
    return every.GetOutput()


def _write(window, path):
    image, writer = vtkWindowToImageFilter(), vtkPNGWriter()
    image.SetInput(window)
    image.SetInputBufferTypeToRGBA()
    image.ReadFrontBufferOff()
    writer.SetInputConnection(image.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()


def main(scene, picture):
    """Draw a scene that `rendered` left."""
    with np.load(scene, allow_pickle=False) as kept:
        surfaces = [
            Surface(kept[f"points{k}"], kept[f"triangles{k}"], str(colour), "")
            for k, colour in enumerate(kept["colours"])
        ]
        draw(surfaces, kept["sensors"], picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
