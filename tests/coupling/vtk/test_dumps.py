"""Which files are the dumps of a run, their order, and writing and reading bit for bit."""

import shutil

import numpy as np
import pytest
from contents import SELF, content, small_mesh, small_state
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOXML import vtkXMLPUnstructuredGridReader

from coupling.common.files import FileError, unused_name
from coupling.geometry.mesh import MeshError, State
from coupling.vtk.dumps import dumps_in_time, list_dumps, write_dump
from coupling.vtk.vtu import read_state

DUMPS = ["serial/mini_3.vtu", "parallel/mini_3.pvtu", "adaptive/mini_3.vtu"]


def _names(files):
    return [file.name for file in files]


def test_a_folder_gives_dumps_but_no_checkpoints_and_no_pieces(fluidity_data):
    assert _names(list_dumps(fluidity_data / "serial")) == ["mini_2.vtu", "mini_3.vtu"]
    assert _names(list_dumps(str(fluidity_data / "parallel"))) == ["mini_2.pvtu", "mini_3.pvtu"]


def test_the_files_a_run_of_ours_starts_from_are_no_dumps(fluidity_data, tmp_path):
    for name in ("mini_3.vtu", "restart_VelocityMesh.vtu"):
        shutil.copy(fluidity_data / "serial" / "mini_3.vtu", tmp_path / name)
    assert _names(list_dumps(tmp_path)) == ["mini_3.vtu"]


def test_dumps_of_a_simulation_named_restart_are_dumps(fluidity_data, tmp_path):
    """Beside them are the files that the run started from, one of which has a number, too."""
    names = ("restart_west_0.vtu", "restart_west_12.vtu", "restart_0.vtu", "restart_Mesh.vtu", "restart_Mesh_2.vtu")
    for name in names:
        shutil.copy(fluidity_data / "serial" / "mini_3.vtu", tmp_path / name)
    assert _names(list_dumps(str(tmp_path / "restart_w*.vtu"))) == ["restart_west_0.vtu", "restart_west_12.vtu"]
    (tmp_path / "restart.flml").write_text("<fluidity_options><a file_name='restart_Mesh_2.vtu'/></fluidity_options>")
    assert _names(list_dumps(tmp_path)) == ["restart_0.vtu", "restart_west_0.vtu", "restart_west_12.vtu"]
    with pytest.raises(FileError, match="restart_Mesh.vtu and what else is there belongs to checkpoints or restarts"):
        list_dumps(str(tmp_path / "restart_M*.vtu"))


def test_patterns_and_files_give_each_dump_once(fluidity_data):
    adaptive = fluidity_data / "adaptive"
    dumps = list_dumps([adaptive / "mini_[46].vtu", adaptive / "mini_4.vtu", adaptive / "../adaptive/mini_0.vtu"])
    assert _names(dumps) == ["mini_4.vtu", "mini_6.vtu", "mini_0.vtu"]


def test_a_checkpoint_that_is_named_is_taken(fluidity_data):
    name = "mini_PressureMesh_3_checkpoint.vtu"
    assert _names(list_dumps(fluidity_data / "adaptive" / name)) == [name]
    with pytest.raises(FileError, match="no such file, folder or dumps"):
        list_dumps(fluidity_data / "adaptive/mini_Pressure*.vtu")


def test_what_gives_no_dump_is_named(fluidity_data, tmp_path):
    for wrong, message in [
        (tmp_path, "has no dumps"),
        (tmp_path / "none.vtu", "none.vtu: no such file"),
        (fluidity_data / "serial/mini.flml", "mini.flml: not a dump"),
        ([fluidity_data / "serial", tmp_path / "x_*.vtu"], r"x_\*.vtu: no such file"),
        ([], "no dumps were named"),
    ]:
        with pytest.raises(FileError, match=message):
            list_dumps(wrong)


def test_the_order_is_that_of_the_times_within(fluidity_data, tmp_path):
    for k, name in ((6, "a_1"), (0, "z_10"), (3, "b_2")):
        shutil.copy(fluidity_data / f"adaptive/mini_{k}.vtu", tmp_path / f"{name}.vtu")
    files, times = dumps_in_time(tmp_path, SELF)
    assert _names(files) == ["z_10.vtu", "b_2.vtu", "a_1.vtu"] and times.tolist() == [0.0, 12.0, 24.0]


@pytest.mark.parametrize("time, again", [(0.0, 0.0), (1.1, 1.0999999999999999), (1.1, 1.1 * (1 + 1e-15))])
def test_two_dumps_of_one_time_are_refused(tmp_path, time, again):
    write_dump(small_state(time), tmp_path / "one", SELF)
    write_dump(small_state(again), tmp_path / "two", SELF)
    with pytest.raises(FileError, match=r"(one.vtu and .*two|two.vtu and .*one).vtu are both of"):
        dumps_in_time(tmp_path, SELF)


def test_near_times_are_two(tmp_path):
    for k, time in enumerate((1e6, 1e6 + 1e-3)):
        write_dump(small_state(time), tmp_path / str(k), SELF)
    assert dumps_in_time(tmp_path, SELF)[1].tolist() == [1e6, 1e6 + 1e-3]


def test_a_broken_dump_is_named(fluidity_data, tmp_path):
    shutil.copy(fluidity_data / "adaptive/mini_0.vtu", tmp_path)
    (tmp_path / "mini_1.vtu").write_bytes((fluidity_data / "adaptive/mini_2.vtu").read_bytes()[:5000])
    with pytest.raises(FileError, match="mini_1.vtu: .* was it written whole"):
        dumps_in_time(tmp_path, SELF)
    shutil.copy(fluidity_data / "serial/mini_PressureMesh_3_checkpoint.vtu", tmp_path / "mini_1.vtu")
    with pytest.raises(FileError, match="mini_1.vtu: has no point array 'Time'"):
        dumps_in_time(tmp_path, SELF)


@pytest.mark.parametrize("name", DUMPS)
def test_a_dump_comes_back_bit_for_bit(fluidity_data, tmp_path, name):
    state = read_state(fluidity_data / name, SELF)
    path = write_dump(state, tmp_path / "again.1", SELF)
    assert path == tmp_path / f"again.1{(fluidity_data / name).suffix}"
    again = read_state(path, SELF)
    assert content(again) == content(state) and list(again.fields) == list(state.fields)


def test_numbers_that_are_not_finite_or_signed_zeros_come_back(tmp_path):
    values = np.array([np.nan, -np.inf, -0.0, 5e-324])
    state = small_state(0.1 + 0.2, a=values)
    again = read_state(write_dump(state, tmp_path / "odd", SELF), SELF)
    assert content(again) == content(state)
    assert again["a"].values.view(np.int64).tolist() == values.view(np.int64).tolist()


def test_vtk_opens_the_pieces_as_one(fluidity_data, tmp_path):
    state = read_state(fluidity_data / "parallel/mini_3.pvtu", SELF)
    reader = vtkXMLPUnstructuredGridReader()
    reader.SetFileName(str(write_dump(state, tmp_path / "dump", SELF)))
    reader.Update()
    grid, mesh = reader.GetOutput(), state["Tracer"].mesh
    np.testing.assert_array_equal(vtk_to_numpy(grid.GetPoints().GetData()), mesh.points)
    np.testing.assert_array_equal(vtk_to_numpy(grid.GetCellData().GetArray("vtkGhostType")), mesh.ghost)
    for name, field in state.fields.items():
        data = grid.GetPointData() if field.location == "point" else grid.GetCellData()
        np.testing.assert_array_equal(vtk_to_numpy(data.GetArray(name)), field.values)
    assert set(vtk_to_numpy(grid.GetPointData().GetArray("Time"))) == {12.0}


def test_fields_on_two_meshes_are_refused(tmp_path):
    fields = {**small_state(a=np.ones(4)).fields, **small_state(mesh=small_mesh(2), b=np.ones(8)).fields}
    with pytest.raises(MeshError, match="2 meshes"):
        write_dump(State(0.0, fields), tmp_path / "two", SELF)
    assert list(tmp_path.iterdir()) == []


def test_a_name_at_points_and_at_cells_is_refused(tmp_path):
    from coupling.vtk.vtu import add_array, read_grid, write_grid

    grid = read_grid(write_dump(small_state(), tmp_path / "twice", SELF))
    add_array(grid.GetCellData(), "a", np.ones(1))
    write_grid(grid, tmp_path / "twice.vtu")
    with pytest.raises(FileError, match="twice.vtu: a is there at points and at cells"):
        read_state(tmp_path / "twice.vtu", SELF)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises((FileError, OSError), match="none"):
        write_dump(small_state(), tmp_path / "none" / "dump", SELF)
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_are_no_dumps(fluidity_data, tmp_path):
    """Those of a writer that is at work, or was killed, begin as the dump that they were to be."""
    shutil.copyfile(fluidity_data / "serial/mini_3.vtu", tmp_path / "mini_3.vtu")
    half = (tmp_path / "mini_3.vtu").read_bytes()[:3000]
    (tmp_path / unused_name(tmp_path / "mini_4.vtu")).write_bytes(half)
    (tmp_path / ".mini_5.vtu").write_bytes(half)
    for given in (tmp_path, tmp_path / "*", tmp_path / "*.vtu", tmp_path / ".*"):
        if given.name == ".*":
            with pytest.raises(FileError, match="no such file, folder or dumps"):
                list_dumps(given)
        else:
            assert list_dumps(given) == [tmp_path / "mini_3.vtu"]
