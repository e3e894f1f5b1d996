"""The mesh's own nodes as points: each once, on any number of ranks, and P and Q without loss."""

import numpy as np
import pytest
from contents import small_mesh
from mpi4py import MPI
from polyhedra import small_mesh as small_polyhedra
from polyhedra import street_in_pieces

from coupling.geometry.interpolation import multiply
from coupling.geometry.mesh import Field, MeshError, join_pieces
from coupling.geometry.points import mesh_points
from coupling.vtk.vtu import read_state

COMM = MPI.COMM_SELF


def test_in_one_piece_the_points_are_the_nodes(fluidity_data):
    of = read_state(fluidity_data / "serial/mini_2.vtu", COMM, ["Tracer"])["Tracer"]
    points = mesh_points(of.mesh, COMM)
    between = points.interpolation(of)
    assert points.n_points == of.mesh.n_nodes
    assert np.array_equal(multiply(between.to_grid, of.values), of.values)
    assert np.array_equal(multiply(between.to_mesh, of.values), of.values)


VELOCITY_MESH = "parallel/mini_VelocityMesh_3_checkpoint.pvtu"


def test_copies_of_a_node_are_one_point(fluidity_data):
    of = read_state(fluidity_data / VELOCITY_MESH, COMM, ["Tracer"], time=0.0)["Tracer"]
    points = mesh_points(of.mesh, COMM)
    between = points.interpolation(of)
    assert points.n_points == len(np.unique(of.mesh.points, axis=0)) < of.mesh.n_nodes
    x = of.mesh.points @ [1.0, 2.0, 3.0]
    there = multiply(between.to_grid, x)
    assert len(np.unique(there)) == len(np.unique(x))
    assert np.array_equal(multiply(between.to_mesh, there), x)  # every copy gets the value of its place


def test_nodes_of_a_discontinuous_mesh_belong_to_their_cells(fluidity_data):
    of = read_state(fluidity_data / "parallel/mini_2.pvtu", COMM, ["Tracer"])["Tracer"]
    points = mesh_points(of.mesh, COMM)
    assert points.n_points == 4 * np.sum(~of.mesh.ghost) < of.mesh.n_nodes
    between = points.interpolation(of)
    values = of.mesh.points @ [1.0, 2.0, 3.0] + np.linalg.norm(
        of.mesh.points[of.mesh.cells].sum(axis=1), axis=1
    ).repeat(4)
    assert np.array_equal(multiply(between.to_mesh, multiply(between.to_grid, values)), values)


@pytest.mark.parametrize("mesh", [small_polyhedra(), street_in_pieces(COMM)])
def test_of_polyhedra_the_points_are_the_cells(mesh):
    of = Field("U", mesh, np.sin(mesh.centroids), "cell")
    points = mesh_points(mesh, COMM)
    between = points.interpolation(of)
    assert points.n_points == mesh.n_cells and str(points) == f"{mesh.n_cells} mesh cells"
    assert points.description == {"mesh cells": mesh.n_cells}
    assert np.array_equal(points.places(COMM), mesh.centroids)
    assert np.array_equal(multiply(between.to_grid, of.values), of.values)
    assert np.array_equal(multiply(between.to_mesh, of.values), of.values)


@pytest.mark.parametrize("dump", ["parallel/mini_2.pvtu", VELOCITY_MESH, "polyhedra"])
def test_any_number_of_ranks_has_the_same_points_in_the_same_order(dump, mpirun, fluidity_data, tmp_path):
    source = dump if dump == "polyhedra" else fluidity_data / dump
    points = []
    for n in (1, 2, 3):
        path = tmp_path / f"{n}.npy"
        mpirun(n, "tests/coupling/geometry/parallel_points.py", source, path)
        points.append(np.load(path))
    assert np.array_equal(points[0], points[1]) and np.array_equal(points[0], points[2])


def test_a_field_on_another_mesh_or_at_cells_is_refused(fluidity_data):
    state = read_state(fluidity_data / "serial/mini_2.vtu", COMM)
    points = mesh_points(small_mesh(), COMM)
    with pytest.raises(MeshError, match="share one mesh"):
        points.interpolation(state["Tracer"])
    cells = next(f for f in state.fields.values() if f.location == "cell")
    with pytest.raises(MeshError, match="at the cells"):
        mesh_points(cells.mesh, COMM).interpolation(cells)
    mesh = street_in_pieces(COMM)
    with pytest.raises(MeshError, match="on the cells of mesh .* their values at its cells"):
        mesh_points(mesh, COMM).interpolation(Field("T", small_polyhedra(), np.zeros(1169), "cell"))


def test_two_nodes_of_a_piece_at_the_same_place_are_refused():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0], [0, 0, 0]])
    cells = np.array([[0, 1, 2, 3], [4, 1, 2, 3]])
    parts = [(0, points, cells, np.zeros(2, bool)), (1, points[:4] + 5.0, cells[:1], np.zeros(1, bool))]
    with pytest.raises(MeshError, match="two nodes at the same place"):
        mesh_points(join_pieces(parts, 2, COMM), COMM)
