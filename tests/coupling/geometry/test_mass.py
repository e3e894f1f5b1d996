"""Lumped mass: volumes, each counted once however the mesh is cut, and integrals of linear fields."""

import numpy as np
import pytest
from contents import small_mesh
from mpi4py import MPI

from coupling.geometry.mass import lumped_mass
from coupling.vtk.vtu import read_state

COMM = MPI.COMM_SELF
CONTINUOUS = "parallel/mini_VelocityMesh_3_checkpoint.pvtu"


@pytest.fixture(params=[CONTINUOUS, "parallel/mini_3.pvtu", "serial/mini_3.vtu"])
def mesh(request, fluidity_data):
    return read_state(fluidity_data / request.param, COMM, ["Tracer"], time=0.0)["Tracer"].mesh


@pytest.mark.parametrize("location", ["point", "cell"])
def test_masses_add_up_to_the_volume_and_integrate_linear_fields(mesh, location):
    mass, own = lumped_mass(mesh, location, COMM), ~mesh.ghost
    assert mass.sum() == pytest.approx(mesh.volumes[own].sum(), rel=1e-13) and (mass >= 0).all()
    places = mesh.points if location == "point" else mesh.centroids
    exact = mesh.volumes[own] @ mesh.centroids[own]
    np.testing.assert_allclose(mass @ places, exact, rtol=1e-12)


def test_a_node_of_two_pieces_has_all_its_mass_in_one(fluidity_data):
    cut = read_state(fluidity_data / CONTINUOUS, COMM, ["Tracer"], time=0.0)["Tracer"].mesh
    assert cut.n_pieces == 2
    mass, own = lumped_mass(cut, "point", COMM), ~cut.ghost
    places, number = np.unique(cut.points, axis=0, return_inverse=True)
    number = number.ravel()
    expected = np.bincount(number[cut.cells[own]].ravel(), np.repeat(cut.volumes[own] / 4, 4), minlength=len(places))
    counted = mass > 0
    assert counted.sum() == len(places) == len(np.unique(number[counted]))
    np.testing.assert_allclose(mass[counted], expected[number[counted]], rtol=1e-13)


def test_gradients_of_hat_functions_are_those_of_the_barycentric_coordinates():
    mesh = small_mesh(5)
    a, b = np.array([2.0, -1.0, 0.5]), 3.0
    linear = (mesh.points @ a + b)[mesh.cells]
    np.testing.assert_allclose(np.einsum("ejd,ej->ed", mesh.gradients, linear), np.tile(a, (5, 1)), rtol=1e-10)
    np.testing.assert_allclose(mesh.gradients.sum(axis=1), 0.0, atol=1e-12 * np.abs(mesh.gradients).max())
