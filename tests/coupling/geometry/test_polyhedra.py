"""Cells given by their faces: sizes as OpenFOAM computes them, pieces, and what is refused."""

import numpy as np
import pytest
from mpi4py import MPI
from polyhedra import OPENFOAM, cut, lattice, small_mesh, street_cells, street_mesh

from coupling.geometry.mass import lumped_mass
from coupling.geometry.mesh import Field, MeshError
from coupling.geometry.polyhedra import checked_cells, join_polyhedra

COMM = MPI.COMM_SELF


def test_centres_and_volumes_are_those_of_openfoam():
    # columns: C and V of each cell, written by `postProcess -func writeCellCentres` and `writeCellVolumes`, 17 digits
    expected = np.load(OPENFOAM / "small_centres_volumes.npy")
    mesh = small_mesh()
    assert (mesh.n_cells, mesh.n_nodes, mesh.n_faces) == (1169, 1862, 4164)
    np.testing.assert_allclose(mesh.centroids, expected[:, :3], rtol=0, atol=1e-13 * 120)
    np.testing.assert_allclose(mesh.volumes, expected[:, 3], rtol=1e-13)


def test_boxes_have_the_sizes_of_boxes():
    mesh = street_mesh()
    assert mesh.volumes.sum() == pytest.approx(800.0 * (8 * 6 * 5 - 2 * 2 * 3), rel=1e-14)
    assert set(np.round(np.abs(mesh.face_area_vectors).max(axis=1), 9)) == {80.0, 100.0}
    outward = mesh.face_area_vectors[mesh.cell_faces.face] * mesh.cell_faces.sign[:, None]
    closed = np.stack([np.bincount(mesh.cell_faces.cell, outward[:, d]) for d in range(3)])
    np.testing.assert_allclose(closed, 0.0, atol=1e-12)
    assert set(np.round(mesh.edge_lengths, 9)) == {8.0, 10.0}


def test_warped_cells_fill_the_box_all_the_same():
    mesh = street_mesh(shake=0.2)
    assert mesh.volumes.sum() == pytest.approx(street_mesh().volumes.sum(), rel=0.01)
    assert mesh.volumes.min() > 0
    np.testing.assert_array_equal(lumped_mass(mesh, "cell", COMM), mesh.volumes)


def test_pieces_keep_their_cells():
    whole = lattice(street_cells(), shake=0.2)
    mesh = join_polyhedra([(0, whole)], 1, COMM)
    piece = np.arange(mesh.n_cells) * 3 // mesh.n_cells
    parts, within = cut(whole, piece)
    pieces = join_polyhedra(list(enumerate(parts)), 3, COMM)
    place = np.array([p.cells.start for p in pieces.pieces])[piece] + within
    np.testing.assert_allclose(pieces.volumes[place], mesh.volumes, rtol=1e-13)
    np.testing.assert_allclose(pieces.centroids[place], mesh.centroids, rtol=1e-13)
    assert pieces.n_faces > mesh.n_faces and not pieces.ghost.any()
    for piece_, part in zip(pieces.pieces, parts, strict=True):
        for one, other in zip(pieces.part(piece_), part, strict=True):
            np.testing.assert_array_equal(one, other)


def test_pieces_must_be_all_there():
    with pytest.raises(MeshError, match="pieces \\[0\\] are there, 0 … 1 expected"):
        join_polyhedra([(0, lattice(street_cells()))], 2, COMM)


def test_values_are_those_of_cells():
    mesh = street_mesh()
    assert Field("T", mesh, np.zeros(mesh.n_cells), "cell").components == 1
    with pytest.raises(MeshError, match="T: has values at points"):
        Field("T", mesh, np.zeros(mesh.n_nodes))


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("face_nodes", 10**9, "faces name nodes 0 … 1000000000"),
        ("owner", 10**15, "cannot bound"),
        ("owner", -1, "negative owner"),
        ("neighbour", -2, "neighbour below"),
        ("face_offsets", 7, "not lists of three or more"),
    ],
)
def test_a_part_that_contradicts_itself_is_refused(name, value, words):
    part = lattice(street_cells())
    harmed = getattr(part, name).copy()
    harmed[0] = value
    with pytest.raises(MeshError, match=words):
        checked_cells(part._replace(**{name: harmed}), "here")
