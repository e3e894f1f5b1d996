"""Surfaces of a checkpoint's mesh, and where its options prescribe the velocity."""

import shutil

import numpy as np
import pytest
from box_mesh import box_mesh
from fluidity_case import from_file, from_mesh, sides, write_options
from lxml import etree
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.fluidity.boundary import (
    NORMAL,
    check_surfaces,
    free_directions,
    held_components,
    held_squares,
    read_boundary,
)
from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.fluidity.msh import write_msh
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.mesh import MeshError

COMM = MPI.COMM_SELF


def fluidity(folder, run="parallel"):
    return open_restart(folder / run / "mini_3_checkpoint.flml")


@pytest.mark.parametrize("run", ["serial", "parallel"])
def test_surfaces_are_read_in_the_order_of_the_checkpoints_nodes(fluidity_data, run):
    restart = fluidity(fluidity_data, run)
    mesh = read_fields(restart, COMM, ["Velocity"])["Velocity"].mesh
    boundary = read_boundary(restart, mesh, COMM)
    assert set(boundary.ids) == {1, 2, 3, 4, 5} and boundary.ids.shape == boundary.facets.shape[:1]
    np.testing.assert_array_equal(boundary.points, mesh.points)
    low, high = mesh.bounds(COMM)
    assert (mesh.points[boundary.nodes_on([1]), 0] == low[0]).all()
    assert (mesh.points[boundary.nodes_on([2]), 0] == high[0]).all()
    assert (mesh.points[boundary.nodes_on([4]), 2] == high[2]).all()
    with pytest.raises(FileError, match=r"gates.taper: surfaces \[9\], .* it has \[1, 2, 3, 4, 5\]"):
        check_surfaces([2, 9], restart, "gates.taper")
    check_surfaces([1, 5], restart, "gates.taper")


def test_conditions_of_a_fluidity_case_are_understood(fluidity_data):
    assert held_components(fluidity(fluidity_data), "Velocity") == {1: {0, 1, 2}, 4: {2}, 5: {0, 1, 2}}
    cold = open_restart(fluidity_data / "parallel/mini.flml")
    assert held_components(cold, "Velocity") == {1: {0, 1, 2}, 4: {2}, 5: {0, 1, 2}}
    with pytest.raises(FileError, match="has no prognostic field 'Wind'; it has .*'Velocity'"):
        held_components(fluidity(fluidity_data), "Wind")


CONDITION = """<boundary_conditions name="b"><surface_ids><integer_value shape="2" rank="1">{ids}</integer_value>
</surface_ids><type name="{kind}">{below}</type></boundary_conditions>"""


@pytest.mark.parametrize(
    ("kind", "below", "expected"),
    [
        ("no_normal_flow", "", {NORMAL}),
        ("dirichlet", "<align_bc_with_cartesian><y_component/></align_bc_with_cartesian>", {1}),
        ("dirichlet", "<apply_weakly/><align_bc_with_cartesian><x_component/></align_bc_with_cartesian>", {0}),
        ("dirichlet", "<align_bc_with_surface><normal_component/></align_bc_with_surface>", {NORMAL}),
        (
            "dirichlet",
            "<align_bc_with_surface><normal_component/><tangent_component_1/></align_bc_with_surface>",
            {0, 1, 2},
        ),
        ("free_surface", "", None),
    ],
)
def test_kinds_of_conditions(fluidity_data, tmp_path, kind, below, expected):
    restart = changed(fluidity_data, tmp_path, CONDITION.format(ids="3 2", kind=kind, below=below))
    held = held_components(restart, "Velocity")
    assert held.get(3) == held.get(2) == expected and held[4] == {2}


def test_a_condition_without_surfaces_is_refused(fluidity_data, tmp_path):
    restart = changed(fluidity_data, tmp_path, CONDITION.format(ids="", kind="dirichlet", below=""))
    with pytest.raises(FileError, match="boundary condition 'b' of Velocity has surface_ids ''"):
        held_components(restart, "Velocity")


def changed(fluidity_data, tmp_path, condition):
    """The serial checkpoint with one more condition of the velocity."""
    shutil.copytree(fluidity_data / "serial", tmp_path / "case")
    path = tmp_path / "case/mini_3_checkpoint.flml"
    tree = etree.parse(str(path))
    tree.find("material_phase/vector_field[@name='Velocity']/prognostic").append(etree.fromstring(condition))
    tree.write(str(path))
    return open_restart(path)


def test_a_missing_mesh_file_is_named(fluidity_data, tmp_path):
    shutil.copytree(fluidity_data / "serial", tmp_path / "case")
    restart = open_restart(tmp_path / "case/mini_3_checkpoint.flml")
    mesh = read_fields(restart, COMM, ["Velocity"])["Velocity"].mesh
    (tmp_path / "case/mini_CoordinateMesh_3_checkpoint.msh").unlink()
    with pytest.raises(FileError, match="mini_CoordinateMesh_3_checkpoint.msh: cannot be read"):
        read_boundary(restart, mesh, COMM)


def test_nodes_at_edges_and_corners_are_free_along_what_is_left():
    mesh, boundary = box_mesh((2, 2, 2))
    free = free_directions(held_squares(boundary, mesh, {5: {NORMAL}, 3: {NORMAL}, 1: {0}}, COMM))
    at = {tuple(place): k for k, place in enumerate(mesh.points.round(6).tolist())}
    for place, axes in (
        ((1, 0.5, 0), (1, 1, 0)),
        ((1, 0, 0), (1, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 1, 1), (1, 1, 1)),
    ):
        np.testing.assert_allclose(free[at[place]], np.diag(axes), atol=1e-14)


def test_a_discontinuous_field_is_refused(fluidity_data):
    restart = fluidity(fluidity_data)
    mesh = read_fields(restart, COMM, ["DGTracer"])["DGTracer"].mesh
    boundary = read_boundary(restart, mesh, COMM)
    with pytest.raises(MeshError, match="each cell has nodes of its own"):
        held_squares(boundary, mesh, {1: {0}}, COMM)


DISCONTINUOUS = "<mesh_continuity><string_value>discontinuous</string_value></mesh_continuity>"
QUADRATIC = "<mesh_shape><polynomial_degree><integer_value rank='0'>2</integer_value></polynomial_degree></mesh_shape>"


@pytest.mark.parametrize(
    ("above", "own", "said"),
    [("", "", None), (QUADRATIC, "", "of degree 2"), ("", DISCONTINUOUS, "discontinuous"), (DISCONTINUOUS, "", "dis")],
)
def test_a_velocity_that_is_not_linear_and_continuous_is_refused_by_its_options(above, own, said, tmp_path):
    """Before the first forecast, also in a cold start, whose fields are in no file."""
    meshes = from_file("CoordinateMesh") + from_mesh("Between", "CoordinateMesh", above)
    field = '<vector_field name="Velocity"><prognostic><mesh name="VelocityMesh"/><output/></prognostic></vector_field>'
    write_msh(sides("quadrilaterals"), tmp_path / "mesh.msh")
    meshes += from_mesh("VelocityMesh", "Between", own)
    options = write_options(tmp_path / "case.flml", meshes, {"Air": field}, 2)
    ask = FLUIDITY.boundary.check_held
    if said is None:
        ask(open_restart(options), "Velocity")
        return
    with pytest.raises(
        FileError, match=f"gates.divergence_free: .*case.flml: Velocity is on VelocityMesh, which is {said}"
    ):
        ask(open_restart(options), "Velocity")
