"""Fields whose nodes are not those of the mesh beside them are refused before the model is started."""

import shutil

import numpy as np
import pytest
from lxml import etree
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.nodes import check_nodes, check_time
from coupling.geometry.mesh import MeshError
from coupling.vtk.vtu import read_grid, write_grid

COMM = MPI.COMM_SELF


@pytest.fixture(params=["serial", "parallel", "tiny"])
def case(request, fluidity_data, tmp_path):
    """Folder of a checkpoint, to be changed."""
    shutil.copytree(fluidity_data / request.param, tmp_path / "case")
    return tmp_path / "case"


def opened(case):
    return open_restart(next(case.glob("*_3_checkpoint.flml")))


def field_file(case, mesh):
    """The last piece of the fields on a mesh."""
    return sorted(case.rglob(f"*_{mesh}_3_checkpoint*.vtu"))[-1]


def changed(path, change):
    """A VTU rewritten with its points and its cells' corners changed in place."""
    grid = read_grid(path)
    change(
        vtk_to_numpy(grid.GetPoints().GetData()), vtk_to_numpy(grid.GetCells().GetConnectivityArray()).reshape(-1, 4)
    )
    write_grid(grid, path)


def move(points, cells):
    points[3] += 0.01


def scale(points, cells):
    points *= 1.001


def lose(points, cells):
    points[5] = np.nan


def exchange_cells(points, cells):
    cells[[0, 1]] = cells[[1, 0]]


def exchange_nodes(points, cells):
    """The same cells in the same places."""
    points[[0, 1]] = points[[1, 0]]
    zero, one = cells == 0, cells == 1
    cells[zero], cells[one] = 1, 0


def test_the_models_own_files_pass(case):
    check_nodes(opened(case), COMM)


@pytest.mark.parametrize("change", [move, scale, lose, exchange_cells, exchange_nodes])
def test_other_nodes_are_refused(change, case):
    path = field_file(case, "VelocityMesh")
    changed(path, change)
    with pytest.raises(
        MeshError, match=rf"{path.name}: (cell|node) \d+ is at .* take the files as the model wrote them"
    ):
        check_nodes(opened(case), COMM)


def test_another_mesh_is_refused(fluidity_data, tmp_path):
    shutil.copytree(fluidity_data / "serial", tmp_path / "case")
    other = fluidity_data / "adaptive/mini_CoordinateMesh_3_checkpoint.msh"
    shutil.copy(other, tmp_path / "case")
    with pytest.raises(MeshError, match="has 6143 cells, mini_CoordinateMesh_3_checkpoint.msh beside it"):
        check_nodes(opened(tmp_path / "case"), COMM)


def test_a_quadratic_field_has_its_corners_there(fluidity_data, tmp_path):
    shutil.copytree(fluidity_data / "tiny", tmp_path / "case")
    pressure = tmp_path / "case/tiny_PressureMesh_3_checkpoint.vtu"
    (tmp_path / "case/quadratic_PressureMesh.vtu").rename(pressure)
    check_nodes(opened(tmp_path / "case"), COMM)
    grid = read_grid(pressure)
    vtk_to_numpy(grid.GetPoints().GetData())[:] += 1.0
    write_grid(grid, pressure)
    with pytest.raises(MeshError, match="tiny_PressureMesh_3_checkpoint.vtu: cell 0 is at"):
        check_nodes(opened(tmp_path / "case"), COMM)


def test_a_mesh_made_by_extrusion_has_other_nodes_than_its_file(fluidity_data, tmp_path):
    shutil.copytree(fluidity_data / "tiny", tmp_path / "case")
    options = tmp_path / "case/tiny_3_checkpoint.flml"
    tree = flml.read_options(options)
    for name in ("VelocityMesh", "PressureMesh"):
        etree.SubElement(tree.getroot().find(f"geometry/mesh[@name='{name}']/from_mesh"), "extrude")
    flml.write_options(tree, options)
    changed(field_file(tmp_path / "case", "VelocityMesh"), move)
    check_nodes(open_restart(options), COMM)


@pytest.mark.parametrize("run", ["serial", "parallel"])
def test_a_dump_of_another_time_beside_it_is_refused(run, fluidity_data, tmp_path):
    """As where the options are of one run and the dumps of another."""
    shutil.copytree(fluidity_data / run, tmp_path / "case")
    options = tmp_path / "case/mini_3_checkpoint.flml"
    check_time(open_restart(options))
    check_time(open_restart(options.rename(tmp_path / "case/start.flml")))
    tree = flml.read_options(tmp_path / "case/start.flml")
    flml.set_option(tree, "timestepping/current_time", 1.0)
    flml.write_options(tree, options)
    with pytest.raises(FileError, match=r"mini_3_checkpoint.flml: is of 1 s, mini_3.p?vtu beside it of 12 s"):
        check_time(open_restart(options))


@pytest.mark.parametrize("value", ["nan", "0", "-1", "inf"])
def test_a_time_step_that_is_none_is_refused(value, case):
    options = next(case.glob("*_3_checkpoint.flml"))
    tree = flml.read_options(options)
    tree.getroot().find("timestepping/timestep/real_value").text = value
    flml.write_options(tree, options)
    with pytest.raises(FileError, match="timestepping/timestep is .*, expected a number above zero"):
        open_restart(options)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_time_that_is_none_is_refused(value, case):
    options = next(case.glob("*_3_checkpoint.flml"))
    tree = flml.read_options(options)
    tree.getroot().find("timestepping/current_time/real_value").text = value
    flml.write_options(tree, options)
    with pytest.raises(FileError, match="timestepping/current_time is .*, expected a time"):
        open_restart(options)
