"""The grid of a case over meshes of two and three dimensions."""

from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI
from shaped_mesh import shaped_mesh

from coupling.geometry.mesh import Field, MeshError, State
from plugin.case.analysis import GridSection
from plugin.case.configuration import ConfigurationError
from plugin.state.grid import make_grid_of
from plugin.state.transfer import variables_of

COMM = MPI.COMM_SELF


def made(mesh, **grid):
    return make_grid_of(SimpleNamespace(grid=GridSection(**grid)), mesh, COMM, None)


@pytest.mark.parametrize(
    "how",
    [
        {"shape": (7, 5)},
        {"shape": (7, 5, 1)},
        {"spacing": 0.5},
        {"spacing": (0.5, 0.5), "box": [[0, 0], [3, 2]]},
        {"spacing": (0.5, 0.5, 9.0), "box": [[0, 0, -7], [3, 2, 7]]},
    ],
)
def test_a_flat_mesh_has_a_plane_of_points(how):
    grid = made(shaped_mesh("triangles"), **how)
    assert grid.shape == (7, 5, 1) and grid.fluid.all() and (grid.places(COMM)[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"spacing": 0.5, "box": [[0, 0], [3, 2]]}, "grid.box: has two numbers for a corner, but the mesh has three"),
        ({"spacing": 0.5, "box": [[0, 0, 1], [3, 2, 1]]}, "grid.box: has no height, both corners are at 1 m"),
    ],
)
def test_a_solid_mesh_needs_a_box_with_a_height(how, words):
    with pytest.raises(ConfigurationError, match=words):
        made(shaped_mesh("hexahedra"), **how)


@pytest.mark.parametrize(("mesh", "how"), [("tetrahedra", {"shape": (7, 5)}), ("triangles", {"shape": (7, 5, 2)})])
def test_a_shape_of_the_other_dimension_is_refused(mesh, how):
    with pytest.raises(MeshError, match="numbers"):
        made(shaped_mesh(mesh), **how)


def test_vectors_of_a_flat_mesh_have_two_components():
    mesh = shaped_mesh("quadrilaterals")
    state = State(0.0, {"Velocity": Field("Velocity", mesh, np.zeros((mesh.n_nodes, 3)))})
    assert [v.name for v in variables_of(["Velocity"], state)] == ["Velocity.x", "Velocity.y"]
    with pytest.raises(MeshError, match=r"variable 'Velocity.z': Velocity has 2 component"):
        variables_of(["Velocity.z"], state)
