"""Pictures of the last analysis on cells of every shape: slices, of a flat mesh one, and surfaces."""

from types import SimpleNamespace

import numpy as np
import pytest
from shaped_mesh import EVERY_SHAPE, shape_named, shaped_mesh

from coupling.geometry.mesh import is_flat
from plugin.report.fields import VariableFields
from plugin.report.run import Readings
from plugin.report.scene.surfaces import surfaces
from plugin.report.sections.slices import slices
from plugin.report.sections.solid import solid


@pytest.fixture(params=EVERY_SHAPE)
def shown(request):
    mesh = shaped_mesh(request.param)
    background = np.sin(mesh.points[:, 0])
    return VariableFields("Tracer", mesh, "point", background, background + np.cos(mesh.points[:, 1]), None)


@pytest.fixture
def run():
    none, texts = np.zeros(1), np.array(["S1"])
    place = np.array([[1.0, 1.0, 0.0]])
    readings = Readings(
        np.ones(1, int), none, place, texts, np.array(["Tracer"]), none, none, none, none, np.array([""])
    )
    return SimpleNamespace(last={"window": 1, "time": 3.0}, readings=readings, settings={"variables": ["Tracer"]})


def test_a_flat_mesh_has_one_slice_and_no_third_dimension(shown, run):
    text, picture = slices(run, [shown]).blocks
    words, labels = str(text), str(picture)
    if is_flat(shown.mesh):
        assert "from the side" not in words and "z [m]" not in labels
        (block,) = solid(run, [shown]).blocks
        assert "The mesh has two dimensions" in str(block)
    else:
        assert "from the side" in words and "z [m]" in labels
    assert "y [m]" in labels and f"{shown.background.max():.3g}" in labels


@pytest.mark.parametrize("shown", [name for name in EVERY_SHAPE if shape_named(name).dimension == 3], indirect=True)
def test_surfaces_of_solid_cells_are_those_of_the_box(shown):
    ground = surfaces(shown)[0]
    assert ground.name == "ground and buildings" and np.ptp(ground.points[:, 2]) < 1e-9
    assert [of.name.split()[0] for of in surfaces(shown)[1:]] in (["raised", "lowered"], ["raised"])
