"""The decomposer: for one partition the same pieces as Fluidity's own, and the same on every call."""

import numpy as np
import pytest
from fluidity_case import sides
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.embedded import decompose
from coupling.embedded.__main__ import _report
from coupling.embedded.simulation import load_mesh
from coupling.fluidity.halo import read_halo
from coupling.fluidity.msh import read_msh, write_msh
from coupling.vtk.cells import geometry
from coupling.vtk.vtu import read_grid


def keys(points):
    """Nodes by their places, to compare meshes that number them differently."""
    return [tuple(p) for p in np.round(points, 9).tolist()]


def test_the_pieces_are_those_of_fluiditys_decomposer(fluidity_data):
    whole = read_msh(fluidity_data / "serial" / "mesh.msh")
    real = [
        (read_msh(fluidity_data / f"parallel/mesh_{k}.msh"), read_halo(fluidity_data / f"parallel/mesh_{k}.halo"))
        for k in (0, 1)
    ]
    owner_at = {place: k for k, (mesh, halo) in enumerate(real) for place in keys(mesh.points[: halo.n_private])}
    owners = np.array([owner_at[place] for place in keys(whole.points)])
    for (mesh, halo), (real_mesh, real_halo) in zip(decompose.decompose(whole, owners), real, strict=True):
        # in the same order: Fluidity compares what two processes hold of a cell by its place among them
        assert halo.n_private == real_halo.n_private
        assert keys(mesh.points) == keys(real_mesh.points)
        assert np.array_equal(mesh.cells, real_mesh.cells)
        assert np.array_equal(mesh.facets, real_mesh.facets)
        for level in (1, 2):
            for kind in ("send", "receive"):
                ours, theirs = (getattr(h.levels[level], kind)[1 - halo.process] for h in (halo, real_halo))
                assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_halos_match_between_processes_and_every_node_and_cell_has_one_owner(street, n):
    whole, _ = street
    pieces = decompose.decompose(whole, decompose.partition(whole.points, n))
    assert len(pieces) == n
    owned = [place for mesh, halo in pieces for place in keys(mesh.points[: halo.n_private])]
    assert sorted(owned) == sorted(keys(whole.points))
    n_cells = sum((halo.owners()[mesh.cells].min(axis=1) == halo.process).sum() for mesh, halo in pieces)
    assert n_cells == len(whole.cells)
    for mesh, halo in pieces:
        assert halo.n_nodes == len(mesh.points)
        near, far = halo.levels[1].receive, halo.levels[2].receive
        for rank, ids in far.items():
            assert set(near.get(rank, [])) <= set(ids)
            other_mesh, other = pieces[rank]
            for level in (1, 2):
                if halo.process in other.levels[level].send:
                    sent = other_mesh.points[other.levels[level].send[halo.process]]
                    assert np.array_equal(sent, mesh.points[halo.levels[level].receive[rank]])


@pytest.mark.parametrize("name", ["triangles", "quadrilaterals", "hexahedra"])
def test_cells_of_other_shapes_are_cut_alike(name):
    whole = sides(name)
    pieces = decompose.decompose(whole, decompose.partition(whole.points, 3))
    n_cells = sum((halo.owners()[mesh.cells].min(axis=1) == halo.process).sum() for mesh, halo in pieces)
    assert n_cells == len(whole.cells) and all(mesh.shape is whole.shape for mesh, _ in pieces)
    marked = {(tuple(sorted(keys(mesh.points[facet]))), k) for mesh, _ in pieces for facet, k in zip_facets(mesh)}
    assert marked == {(tuple(sorted(keys(whole.points[facet]))), k) for facet, k in zip_facets(whole)}
    for mesh, halo in pieces:
        assert halo.n_nodes == len(mesh.points)


def zip_facets(mesh):
    return zip(mesh.facets, mesh.facet_ids.tolist(), strict=True)


def test_the_embedded_model_itself_runs_on_tetrahedra(tmp_path):
    write_msh(sides("triangles"), tmp_path / "flat.msh")
    with pytest.raises(FileError, match="flat.msh: has triangles; the embedded model runs on tetrahedra"):
        load_mesh(str(tmp_path / "flat"), MPI.COMM_SELF)


def test_the_program_writes_the_same_files_every_time(case):
    contents = []
    for _ in range(2):
        assert decompose.main([str(case / "mesh.msh"), "3"]) == 0
        contents.append([(case / f"mesh_{k}.{kind}").read_bytes() for k in range(3) for kind in ("msh", "halo")])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("n", ["0", "611"])
def test_a_number_of_processes_that_cannot_be_is_refused(case, n, capsys):
    assert decompose.main([str(case / "mesh.msh"), n]) == 1
    assert "mesh.msh" in capsys.readouterr().err
    assert not list(case.glob("*.halo"))


def test_ghost_marks_in_fluiditys_files_follow_the_same_rule(fluidity_data):
    for k in (0, 1):
        halo = read_halo(fluidity_data / f"parallel/mini_CoordinateMesh_3_checkpoint_{k}.halo")
        name = "mini_VelocityMesh_3_checkpoint"
        _, cells, ghost, _ = geometry(read_grid(fluidity_data / "parallel" / name / f"{name}_{k}.vtu"), name)
        assert np.array_equal(ghost, halo.owners()[cells].min(axis=1) != k)


def test_control_characters_of_names_are_written_out(capsys):
    assert decompose.main(["none\x1b[2J.msh", "2"]) == 1
    _report(FileError("of a file: \x1b[31m\x07"))
    shown = capsys.readouterr().err
    assert "\x1b" not in shown and "\x07" not in shown and r"\x1b[2J" in shown and r"\x1b[31m\x07" in shown
