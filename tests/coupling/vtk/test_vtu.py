"""Reading dumps: kinds of fields, pieces, times, and broken files."""

import shutil

import numpy as np
import pytest
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError
from coupling.vtk.vtu import read_grid, read_state, set_array, write_grid

COMM = MPI.COMM_SELF


def test_one_dump_holds_p1_dg_and_p0_fields(fluidity_data):
    state = read_state(fluidity_data / "serial/mini_3.vtu", COMM)
    assert state.time == 12.0
    assert state["Tracer"].values.shape == (24572,) and state["Tracer"].location == "point"
    assert state["Velocity"].components == 3 and state["Viscosity"].components == 9
    assert state["P0Tracer"].values.shape == (6143,) and state["P0Tracer"].location == "cell"
    # nodes of the discontinuous dump are one cell's own
    assert state["Tracer"].mesh.n_nodes == 4 * state["Tracer"].mesh.n_cells
    assert "Time" not in state.fields


def test_pieces_own_every_cell_once(fluidity_data):
    serial = read_state(fluidity_data / "serial/mini_3.vtu", COMM, ["Tracer"])["Tracer"].mesh
    parallel = read_state(fluidity_data / "parallel/mini_3.pvtu", COMM, ["Tracer"])["Tracer"].mesh
    assert parallel.n_pieces == 2 and parallel.ghost.any()
    assert (~parallel.ghost).sum() == serial.n_cells
    own = parallel.centroids[~parallel.ghost]
    np.testing.assert_allclose(np.sort(own.sum(axis=1)), np.sort(serial.centroids.sum(axis=1)), atol=1e-9)
    assert parallel.volumes[~parallel.ghost].sum() == pytest.approx(serial.volumes.sum(), rel=1e-12)


def test_fingerprint_knows_a_mesh_and_its_changes(fluidity_data):
    prints = [
        read_state(fluidity_data / f"adaptive/mini_{k}.vtu", COMM, ["Tracer"])["Tracer"].mesh.fingerprint
        for k in (0, 2, 3, 4, 6)
    ]
    assert prints[0] == prints[1] and prints[2] == prints[3]
    assert len(set(prints)) == 3


def test_parallel_reading_gives_the_same(mpirun):
    assert "same" in mpirun(2, "tests/coupling/vtk/parallel_vtu.py").stdout


def test_a_missing_field_is_named_with_those_there_are(fluidity_data):
    with pytest.raises(FileError, match=r"mini_3.vtu: no array 'Tracr'.*'Tracer'"):
        read_state(fluidity_data / "serial/mini_3.vtu", COMM, ["Tracr"])
    state = read_state(fluidity_data / "adaptive/mini_3.vtu", COMM, ["Tracer"])
    with pytest.raises(MeshError, match="no field 'Velocity'"):
        state["Velocity"]


@pytest.mark.parametrize("keep", [0, 5, 3000, 300_000])
def test_a_truncated_file_is_refused(fluidity_data, tmp_path, keep):
    whole = (fluidity_data / "serial/mini_3.vtu").read_bytes()
    (tmp_path / "cut.vtu").write_bytes(whole[:keep])
    with pytest.raises(FileError, match="cut.vtu"):
        read_state(tmp_path / "cut.vtu", COMM)


def test_a_missing_piece_is_named(fluidity_data, tmp_path):
    shutil.copy(fluidity_data / "parallel/mini_3.pvtu", tmp_path)
    (tmp_path / "mini_3").mkdir()
    shutil.copy(fluidity_data / "parallel/mini_3/mini_3_0.vtu", tmp_path / "mini_3")
    with pytest.raises(FileError, match=r"piece .*mini_3_1.vtu is missing"):
        read_state(tmp_path / "mini_3.pvtu", COMM)


def test_pieces_of_two_times_are_refused(fluidity_data, tmp_path):
    shutil.copy(fluidity_data / "parallel/mini_3.pvtu", tmp_path)
    (tmp_path / "mini_3").mkdir()
    shutil.copy(fluidity_data / "parallel/mini_3/mini_3_0.vtu", tmp_path / "mini_3")
    shutil.copy(fluidity_data / "parallel/mini_2/mini_2_1.vtu", tmp_path / "mini_3/mini_3_1.vtu")
    with pytest.raises(FileError, match=r"different times \[8.0, 12.0\]"):
        read_state(tmp_path / "mini_3.pvtu", COMM)


def test_a_checkpoint_file_has_no_time_and_says_so(fluidity_data):
    with pytest.raises(FileError, match="no point array 'Time'"):
        read_state(fluidity_data / "serial/mini_VelocityMesh_3_checkpoint.vtu", COMM)


def test_xml_entities_are_refused(tmp_path):
    (tmp_path / "x.pvtu").write_text('<!DOCTYPE a [<!ENTITY b "c">]><VTKFile>&b;</VTKFile>')
    with pytest.raises(FileError, match="entities"):
        read_state(tmp_path / "x.pvtu", COMM)


def test_writing_changes_one_array_and_keeps_all_else(fluidity_data, tmp_path):
    source = fluidity_data / "parallel/mini_3/mini_3_0.vtu"
    grid = read_grid(source)
    new = np.arange(grid.GetNumberOfPoints(), dtype=float)
    set_array(grid.GetPointData(), "Tracer", new)
    write_grid(grid, tmp_path / "out.vtu")
    before, after = read_grid(source), read_grid(tmp_path / "out.vtu")
    for data in ("GetPointData", "GetCellData"):
        old_data, new_data = getattr(before, data)(), getattr(after, data)()
        assert old_data.GetNumberOfArrays() == new_data.GetNumberOfArrays()
        for i in range(old_data.GetNumberOfArrays()):
            a, b = old_data.GetArray(i), new_data.GetArray(i)
            assert (a.GetName(), a.GetDataType()) == (b.GetName(), b.GetDataType())
            expected = new if a.GetName() == "Tracer" else np.asarray(a)
            np.testing.assert_array_equal(np.asarray(b), expected)
    np.testing.assert_array_equal(np.asarray(before.GetPoints().GetData()), np.asarray(after.GetPoints().GetData()))
    with pytest.raises(MeshError, match="array 'Tracer'"):
        set_array(grid.GetPointData(), "Tracer", new[:-1])
