"""Background errors of states in cells of polyhedra, from an archive: on a grid, with slopes, and at the cells."""

import numpy as np
import pytest
from mpi4py import MPI
from polyhedra import street_states

from coupling.archive import Archive, ArchiveWriter
from plugin.case.configuration import read_case
from plugin.window.background.of_case import background

COMM = MPI.COMM_SELF
GRIDS = ["{shape: [9, 7, 6]}", "{shape: [9, 7, 6], reconstruction: linear}", "{space: mesh}"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of six states."""
    path = tmp_path_factory.mktemp("earlier") / "earlier.vtkhdf"
    with ArchiveWriter(path, COMM) as writer:
        for state in street_states(COMM, 6):
            writer.append(state)
    return path


def made(tmp_path, archive, grid, settings):
    (tmp_path / "case.yml").write_text(
        "model: {driver: embedded, start: none.flml}\n"
        "cycle: {window: 4, windows: 1}\n"
        f"grid: {grid}\n"
        "variables: [T, U.y]\n"
        f"background: {{snapshots: [{{path: {archive}}}], {settings}}}\n"
        "observations: {file: none.csv}\n"
    )
    return background(read_case(tmp_path / "case.yml"), COMM)


def root(of):
    """(values, modes) the matrix U."""
    return np.stack([of.transform.apply(w) for w in np.eye(of.transform.n_control)], axis=1)


@pytest.mark.parametrize("grid", GRIDS)
def test_reduced_modes_are_the_states_anomalies(tmp_path, archive, grid):
    found = made(tmp_path, archive, grid, "transform: reduced")
    with Archive(archive, COMM) as series:
        states = np.stack([found.transfer.to_grid(series.read(k)) for k in range(6)], axis=1)
    anomalies = (states - states.mean(axis=1, keepdims=True)) / np.sqrt(5)
    np.testing.assert_allclose(root(found), anomalies, atol=1e-12 * np.abs(anomalies).max())


@pytest.mark.parametrize("grid", GRIDS)
def test_blocks_are_of_points_that_are_near(tmp_path, archive, grid):
    settings = "transform: local, truncation: 4, local: {size: 20.0, overlap: false, horizontal: 15.0}"
    found = made(tmp_path, archive, grid, settings)
    places = np.repeat(found.transfer.grid.places(COMM), 2, axis=0)
    u = root(found)
    covariance = u @ u.T
    distance = np.linalg.norm(places[:, None, :2] - places[None, :, :2], axis=2)
    near, far = (np.abs(covariance[where]).max() for where in (distance < 1.0, distance > 60.0))
    assert 0.0 < near and far < 1e-6 * near


@pytest.mark.parametrize("grid", GRIDS)
def test_covariances_are_tapered_by_the_distance_of_the_points_places(tmp_path, archive, grid):
    found = made(tmp_path, archive, grid, "transform: tsvd, truncation: 2, localisation: {horizontal: 15.0}")
    places = found.transfer.grid.places(COMM)
    with Archive(archive, COMM) as series:
        centres = series.read(0)["T"].mesh.centroids
    if grid == "{space: mesh}":
        np.testing.assert_array_equal(places, centres)
    np.testing.assert_array_equal(found.taper.position, np.repeat(places, 2, axis=0))
