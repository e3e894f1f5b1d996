"""What a model leaves: times that agree, and fields that can only be copied."""

import filecmp
import shlex
import shutil

import numpy as np
import pytest
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy

from coupling.common.files import FileError
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.driver import FluidityModel
from coupling.fluidity.nodes import check_nodes
from coupling.simulation.launch import ModelError
from coupling.vtk.cells import arrays_of
from coupling.vtk.vtu import TIME, add_array, read_grid, write_grid

COMM = MPI.COMM_SELF


@pytest.fixture
def start(fluidity_data, tmp_path):
    """A checkpoint whose Pressure is on quadratic tetrahedra with a bent edge."""
    shutil.copytree(fluidity_data / "tiny", tmp_path / "case")
    grid = read_grid(tmp_path / "case/quadratic_PressureMesh.vtu")
    middle = vtk_to_numpy(grid.GetCells().GetConnectivityArray())[9]
    vtk_to_numpy(grid.GetPoints().GetData())[middle] += 0.1
    write_grid(grid, tmp_path / "case/tiny_PressureMesh_3_checkpoint.vtu")
    return open_restart(tmp_path / "case/tiny_3_checkpoint.flml")


def model(start, folder, current="10.0", dumped=10.0):
    """A program that leaves a dump and the checkpoint that it was started from, of these times."""
    grid = read_grid(start.fields["Velocity"].path)
    add_array(grid.GetPointData(), TIME, np.full(grid.GetNumberOfPoints(), dumped))
    write_grid(grid, folder / "dump.vtu")
    path = folder / "model"
    path.write_text(
        "#!/bin/bash\n"
        f"cp {shlex.quote(str(folder / 'dump.vtu'))} tiny_1.vtu\n"
        'sed \'s#<current_time><real_value rank="0">[^<]*#<current_time><real_value rank="0">\''
        f"{current}# restart.flml > tiny_1_checkpoint.flml\n"
    )
    path.chmod(0o755)
    return FluidityModel((str(path),), timeout=60)


def test_a_field_on_cells_that_cannot_be_used_is_only_copied(start, tmp_path):
    forecast = model(start, tmp_path).run(start, 10.0, tmp_path / "run", COMM)
    assert set(forecast.state.fields) == {"Tracer", "Velocity"} and forecast.state.time == 10.0
    assert set(forecast.restart.fields) == {"Tracer", "Velocity", "Pressure"}
    state = read_fields(forecast.restart, COMM)
    analysis = write_restart(forecast.restart, tmp_path / "analysis", COMM, state.fields)
    assert filecmp.cmp(start.fields["Pressure"].path, analysis.fields["Pressure"].path, shallow=False)
    with pytest.raises(FileError, match="its quadratic tetrahedra have bent edges, expected straight ones; have"):
        read_fields(start, COMM, ["Pressure"])


def test_a_quadratic_field_comes_back_bit_for_bit(fluidity_data, tmp_path):
    shutil.copytree(fluidity_data / "tiny", tmp_path / "case")
    (tmp_path / "case/quadratic_PressureMesh.vtu").rename(tmp_path / "case/tiny_PressureMesh_3_checkpoint.vtu")
    start = open_restart(tmp_path / "case/tiny_3_checkpoint.flml")
    state = read_fields(start, COMM)
    changed = state["Pressure"].replaced(np.random.default_rng(1).standard_normal(len(state["Pressure"].values)))
    written = write_restart(start, tmp_path / "new", COMM, {"Pressure": changed})
    check_nodes(written, COMM)
    again = read_fields(written, COMM)
    np.testing.assert_array_equal(again["Pressure"].values, changed.values)
    np.testing.assert_array_equal(again["Tracer"].values, state["Tracer"].values)


def test_values_that_are_not_finite_are_noticed_in_what_is_only_copied(start, tmp_path):
    path = start.fields["Pressure"].path
    grid = read_grid(path)
    arrays_of(grid.GetPointData())["Pressure"][2] = np.nan
    write_grid(grid, path)
    with pytest.raises(ModelError, match="values of Pressure are not finite"):
        model(start, tmp_path).run(start, 10.0, tmp_path / "run", COMM)


def test_a_checkpoint_of_another_time_than_the_dump_is_refused(start, tmp_path):
    with pytest.raises(ModelError, match=r"tiny_1_checkpoint.flml is of 1 s, tiny_1.vtu beside it of 10 s"):
        model(start, tmp_path, "1").run(start, 10.0, tmp_path / "run", COMM)


def test_a_time_rounded_to_single_precision_is_the_same(start, tmp_path):
    time = float(np.float32(10.1))
    assert model(start, tmp_path, "10.1", time).run(start, 10.1, tmp_path / "run", COMM).state.time == time


@pytest.mark.parametrize("current", ["nan", "nonsense"])
def test_a_checkpoint_without_a_time_is_the_models_failure(current, start, tmp_path):
    with pytest.raises((ModelError, FileError), match="timestepping/current_time is"):
        model(start, tmp_path, current).run(start, 10.0, tmp_path / "run", COMM)


def test_pieces_of_a_quadratic_grid_are_whole(start):
    assert vtk_to_numpy(read_grid(start.fields["Pressure"].path).GetCellTypes()).tolist().count(24) > 0
