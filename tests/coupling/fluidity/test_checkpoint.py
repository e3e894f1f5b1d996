"""The restart contract: a checkpoint comes back unchanged, except for what the analysis changed."""

import filecmp
import shutil

import numpy as np
import pytest
from lxml import etree
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import n_processes, open_restart, read_fields, write_restart
from coupling.geometry.mesh import Field, MeshError, join_pieces
from coupling.vtk.cells import arrays_of
from coupling.vtk.vtu import piece_paths, read_grid, write_grid

COMM = MPI.COMM_SELF
RUNS = ["serial", "parallel", "adaptive"]


@pytest.fixture(params=RUNS)
def restart(request, fluidity_data):
    return open_restart(fluidity_data / request.param / "mini_3_checkpoint.flml")


def _all_arrays(path):
    grid = read_grid(path)
    arrays = {"points": np.array(grid.GetPoints().GetData()), "cells": np.array(grid.GetCells().GetConnectivityArray())}
    for where, data in (("point", grid.GetPointData()), ("cell", grid.GetCellData())):
        arrays |= {f"{where} {name}": values.copy() for name, values in arrays_of(data).items()}
    return arrays


def test_it_knows_what_the_model_needs(restart):
    assert (restart.name, restart.time, restart.timestep) == ("mini_checkpoint", 12.0, 2.0)
    assert {"Tracer", "Velocity", "Pressure"} <= set(restart.fields)
    assert n_processes(restart) == (2 if restart.folder.name == "parallel" else 1)


def test_untouched_files_are_copied_byte_for_byte(restart, tmp_path):
    written = write_restart(restart, tmp_path / "new", COMM)
    pairs = [(restart.fields[name].path, written.fields[name].path) for name in restart.fields]
    for old, new in pairs:
        for a, b in zip(piece_paths(old), piece_paths(new), strict=True):
            assert filecmp.cmp(a, b, shallow=False), (a, b)
    base = "mini_CoordinateMesh_3_checkpoint"
    for old in restart.folder.glob(f"{base}*"):
        assert filecmp.cmp(old, written.folder / old.name.replace(base, "restart_CoordinateMesh"), shallow=False)


def test_options_differ_in_file_names_only(restart, tmp_path):
    def options(path, names):
        return [
            (e.tag, {k: names.get(v, v) for k, v in e.attrib.items()}, (e.text or "").strip())
            for e in flml.read_options(path).getroot().iter(etree.Element)
        ]

    written = write_restart(restart, tmp_path / "new", COMM)
    renamed = {restart.fields[n].path.name: written.fields[n].path.name for n in restart.fields}
    renamed["mini_CoordinateMesh_3_checkpoint"] = "restart_CoordinateMesh"
    assert options(restart.options, renamed) == options(written.options, {})


def test_changed_fields_differ_and_nothing_else(restart, tmp_path):
    state = read_fields(restart, COMM)
    rng = np.random.default_rng(5)
    new = {name: rng.standard_normal(state[name].values.shape) for name in ("Tracer", "Velocity")}
    written = write_restart(restart, tmp_path / "new", COMM, {n: state[n].replaced(v) for n, v in new.items()})
    assert filecmp.cmp(*(piece_paths(r.fields["Pressure"].path)[0] for r in (restart, written)), shallow=False)
    mesh = state["Tracer"].mesh
    old_pieces, new_pieces = (piece_paths(r.fields["Tracer"].path) for r in (restart, written))
    for piece, old, changed in zip(mesh.pieces, old_pieces, new_pieces, strict=True):
        before, after = _all_arrays(old), _all_arrays(changed)
        assert before.keys() == after.keys()
        for name in before:
            expected = new[name[6:]][piece.nodes] if name[6:] in new else before[name]
            np.testing.assert_array_equal(after[name], expected)
            assert after[name].dtype == before[name].dtype


def test_p1dg_and_p0_fields_come_back_bit_for_bit(fluidity_data, tmp_path):
    for run in ("serial", "parallel"):
        restart = open_restart(fluidity_data / run / "mini_3_checkpoint.flml")
        state = read_fields(restart, COMM)
        new = {name: state[name].replaced(2.0 * state[name].values + 0.1) for name in ("DGTracer", "P0Tracer")}
        written = write_restart(restart, tmp_path / run, COMM, new)
        again = read_fields(written, COMM)
        for name in state.fields:
            expected = new[name].values if name in new else state[name].values
            np.testing.assert_array_equal(again[name].values, expected)
            assert again[name].mesh.fingerprint == state[name].mesh.fingerprint


def test_fields_of_equal_files_share_a_fingerprint(restart):
    state = read_fields(restart, COMM)
    assert state["Tracer"].mesh is state["Velocity"].mesh
    assert state["Tracer"].mesh.fingerprint == state["Pressure"].mesh.fingerprint


def test_names_do_not_grow_over_many_restarts(restart, tmp_path):
    names = None
    for k in range(4):
        restart = write_restart(restart, tmp_path / str(k), COMM)
        present = sorted(p.relative_to(restart.folder) for p in restart.folder.rglob("*"))
        assert names in (None, present)
        names = present


def test_values_that_are_not_finite_are_refused_and_nothing_is_written(restart, tmp_path):
    tracer = read_fields(restart, COMM, ["Tracer"])["Tracer"]
    values = tracer.values.copy()
    values[7] = np.nan
    with pytest.raises(MeshError, match="field 'Tracer': 1 values are not finite"):
        write_restart(restart, tmp_path / "new", COMM, {"Tracer": tracer.replaced(values)})
    assert list(tmp_path.iterdir()) == []


def test_a_field_of_another_mesh_is_refused(fluidity_data, tmp_path):
    restart = open_restart(fluidity_data / "serial/mini_3_checkpoint.flml")
    other = read_fields(open_restart(fluidity_data / "adaptive/mini_3_checkpoint.flml"), COMM, ["Tracer"])
    with pytest.raises(MeshError, match="not the one the fields"):
        write_restart(restart, tmp_path / "new", COMM, {"Tracer": other["Tracer"]})
    assert not (tmp_path / "new").exists()


def test_fields_that_cannot_be_of_one_file_are_refused_before_anything_is_written(fluidity_data, tmp_path):
    restart = open_restart(fluidity_data / "parallel/mini_3_checkpoint.flml")
    state = read_fields(restart, COMM, ["Tracer", "Velocity", "DGTracer"])
    of, mesh = state["Tracer"], state["Tracer"].mesh
    first = mesh.pieces[0]
    part = join_pieces([(0, mesh.points[first.nodes], mesh.cells[first.cells], mesh.ghost[first.cells])], 1, COMM)
    alone = Field("Tracer", part, of.values[first.nodes])
    with pytest.raises(MeshError, match=r"\['Tracer'\] were given on a mesh of 1 pieces, the file's has 2"):
        write_restart(restart, tmp_path / "new", COMM, {"Tracer": alone})
    with pytest.raises(MeshError, match=r"\['Tracer', 'Velocity'\] were given on different meshes"):
        write_restart(restart, tmp_path / "new", COMM, {"Tracer": alone, "Velocity": state["Velocity"]})
    with pytest.raises(MeshError, match=r"array 'Tracer': \(.*\) to be written"):
        write_restart(restart, tmp_path / "new", COMM, {"Tracer": of.replaced(np.zeros((mesh.n_nodes, 3)))})
    with pytest.raises(MeshError, match="array 'P0Tracer'|not the one the fields"):
        nodes = Field("P0Tracer", state["DGTracer"].mesh, state["DGTracer"].values)
        write_restart(restart, tmp_path / "new", COMM, {"P0Tracer": nodes})
    assert list(tmp_path.iterdir()) == []


def test_permuted_cells_of_a_p0_file_are_noticed(fluidity_data, tmp_path):
    """The model accepts such a file silently and mixes up the cells."""
    shutil.copytree(fluidity_data / "serial", tmp_path / "case")
    path = tmp_path / "case/mini_P0Mesh_3_checkpoint.vtu"
    grid = read_grid(path)
    cells = np.asarray(grid.GetCells().GetConnectivityArray()).reshape(-1, 4)
    cells[[0, 1]] = cells[[1, 0]]
    write_grid(grid, path)
    restart = open_restart(tmp_path / "case/mini_3_checkpoint.flml")
    with pytest.raises(MeshError, match="another order"):
        read_fields(restart, COMM)


def test_a_missing_file_is_named(fluidity_data, tmp_path):
    shutil.copytree(fluidity_data / "parallel", tmp_path / "case")
    (tmp_path / "case/mini_CoordinateMesh_3_checkpoint_1.halo").unlink()
    with pytest.raises(FileError, match="mini_CoordinateMesh_3_checkpoint_1.halo"):
        open_restart(tmp_path / "case/mini_3_checkpoint.flml")


def test_an_existing_folder_is_never_overwritten(restart, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/precious").write_text("keep")
    with pytest.raises(FileExistsError):
        write_restart(restart, tmp_path / "new", COMM)
    assert (tmp_path / "new/precious").read_text() == "keep"


def test_a_cold_start_is_a_restart_without_fields(fluidity_data, tmp_path):
    restart = open_restart(fluidity_data / "serial/mini.flml")
    assert restart.fields == {} and restart.time == 0.0
    written = write_restart(restart, tmp_path / "new", COMM)
    assert sorted(p.name for p in written.folder.iterdir()) == ["restart.flml", "restart_CoordinateMesh.msh"]


@pytest.mark.parametrize("run", RUNS)
def test_ranks_write_the_same_files(run, fluidity_data, tmp_path, mpirun):
    source = fluidity_data / run / "mini_3_checkpoint.flml"
    mpirun(2, "tests/coupling/fluidity/parallel_checkpoint.py", source, tmp_path / "two")
    mpirun(1, "tests/coupling/fluidity/parallel_checkpoint.py", source, tmp_path / "one")
    for path in sorted((tmp_path / "one").rglob("*")):
        if path.is_file():
            assert filecmp.cmp(path, tmp_path / "two" / path.relative_to(tmp_path / "one"), shallow=False), path
