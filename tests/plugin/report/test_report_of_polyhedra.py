"""Slices and surfaces of fields in cells of polyhedra."""

import numpy as np
import pytest
from mpi4py import MPI
from polyhedra import small_mesh, street_in_pieces, street_mesh

from plugin.report.fields import VariableFields
from plugin.report.scene.surfaces import surfaces
from plugin.report.sections.slices import Cutter, plane

COMM = MPI.COMM_SELF
BUILDING = 30.0, 50.0, 20.0, 40.0, 24.0  # m: its x, y and height in `street_mesh`, 80 × 60 × 40 m


def area(surface):
    """Of all triangles [m²]."""
    corners = surface.points[surface.triangles]
    return 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()


@pytest.mark.parametrize("fixed, at", [(2, 11.0), (2, 31.0), (1, 33.0)])
def test_slices_have_the_values_of_cells_and_leave_buildings_out(fixed, at):
    mesh = street_mesh()
    where = plane(mesh.bounds(COMM), fixed, at)
    number = np.arange(mesh.n_cells, dtype=float)
    cut = Cutter().cut(mesh, "cell", number, where)
    x, y, z = where.places.T.reshape(3, *where.shape)
    left, right, front, back, top = BUILDING
    hole = (x > left) & (x < right) & (y > front) & (y < back) & (z < top)
    np.testing.assert_array_equal(np.isnan(cut), hole)
    low, high = (ends[cut[~hole].astype(int)] for ends in mesh.cell_boxes)
    places = np.stack([x, y, z], axis=-1)[~hole]
    assert ((places >= low - 1e-9) & (places <= high + 1e-9)).all()


@pytest.mark.parametrize("cut", [False, True])
def test_surfaces_are_ground_walls_and_levels_without_holes(cut):
    mesh = street_in_pieces(COMM, shake=0.0) if cut else street_mesh()
    analysis = np.clip((mesh.centroids[:, 0] - 40.0) / 30.0, -1.0, 1.0)  # ±1 beyond the building's ends
    ground, raised, lowered = surfaces(VariableFields("T", mesh, "cell", 0.0 * analysis, analysis, None))
    left, right, front, back, top = BUILDING
    walls = 2.0 * (right - left + back - front) * top
    assert area(ground) == pytest.approx(80.0 * 60.0 + walls, rel=1e-9)
    for level in (raised, lowered):
        # the level is in the building's part of the street
        within = (level.points[:, 0] > left) & (level.points[:, 0] < right)
        free = 60.0 * 40.0 - (back - front) * top * within.mean()
        assert within.all() and area(level) == pytest.approx(free, rel=0.1)


def test_surfaces_of_openfoams_own_mesh():
    mesh = small_mesh()  # 120 × 120 × 60 m
    analysis = mesh.centroids[:, 2] - 30.0
    ground, raised, lowered = surfaces(VariableFields("T", mesh, "cell", 0.0 * analysis, analysis, None))
    assert area(ground) > 120.0 * 120.0
    # above the roofs a level is the whole of the plane
    assert raised.points[:, 2].min() > 30.0 and area(raised) == pytest.approx(120.0 * 120.0, rel=0.01)
    assert lowered.points[:, 2].max() < 30.0 and area(lowered) < 120.0 * 120.0
