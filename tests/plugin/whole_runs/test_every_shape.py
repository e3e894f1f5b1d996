"""Analyses of states on cells of every shape, on a grid and at the mesh's nodes: as of dense algebra, in an archive."""

import numpy as np
import pytest
from cycle_case import write_readings
from mpi4py import MPI
from shaped_mesh import BOX, EVERY_SHAPE, shaped_mesh

from coupling.archive import Archive
from coupling.geometry.interpolation import multiply, sampling
from coupling.geometry.mesh import Field, State
from coupling.vtk.dumps import write_dump
from plugin.case.configuration import read_case
from plugin.reanalysis import reanalyse

COMM = MPI.COMM_SELF
ERROR = 0.05

CASE = """
grid: {grid}
variables: [Tracer, Velocity]
background: {{snapshots: [{{path: {folder}/earlier}}], transform: reduced, between: sample, adaptive: null}}
analysis: {{guard: off}}
observations: {{file: {folder}/readings.csv}}
run: {folder}/run
reanalysis: {{states: [{{path: {folder}/now}}], output: {folder}/analyses.vtkhdf}}
"""


def state(mesh, time, at):
    """A plume about a place, and a wind that turns."""
    tracer = np.exp(-((mesh.points - at) ** 2).sum(axis=1))
    wind = np.stack(
        [np.cos(mesh.points[:, 1] + time), np.sin(mesh.points[:, 0] - time), np.sin(time * mesh.points[:, 2])], axis=1
    )
    return State(time, {"Tracer": Field("Tracer", mesh, tracer), "Velocity": Field("Velocity", mesh, wind)})


def made(folder, name, grid):
    """The analysis of one state, the state, earlier states, and the readings' places and values."""
    mesh, rng = shaped_mesh(name, n=(8, 6, 4)), np.random.default_rng(1)
    flat = mesh.shape.dimension == 2
    middle = BOX.mean(axis=0) * (1, 1, not flat)
    earlier = [state(mesh, float(k), middle + rng.uniform(-0.5, 0.5, 3) * (1, 1, not flat)) for k in range(6)]
    (folder / "earlier").mkdir(parents=True)
    (folder / "now").mkdir()
    for k, of in enumerate(earlier):
        write_dump(of, folder / f"earlier/s_{k}", COMM)
    now = state(mesh, 2.5, middle)
    write_dump(now, folder / "now/s_0", COMM)
    places = rng.uniform(*(BOX[0] + 0.3, BOX[1] - 0.3), (8, 3)) * (1, 1, not flat)
    values = rng.normal(0.5, 0.2, 8)
    rows = [(2.5, *place, "Tracer", value, ERROR) for place, value in zip(places, values, strict=True)]
    write_readings(folder / "readings.csv", rows)
    (folder / "case.yml").write_text(CASE.format(grid=grid, folder=folder))
    reanalyse(read_case(folder / "case.yml", needed=()), COMM)
    with Archive(folder / "analyses.vtkhdf", COMM) as archive:
        return archive.read(0), now, earlier, places, values


@pytest.mark.parametrize("name", EVERY_SHAPE)
def test_at_the_nodes_it_is_the_gain_of_dense_algebra(name, tmp_path):
    analysis, now, earlier, places, values = made(tmp_path, name, "{space: mesh}")
    mesh = now["Tracer"].mesh
    h, inside = sampling(mesh, "point", places, COMM)
    assert inside.all() and analysis["Tracer"].mesh.fingerprint == mesh.fingerprint
    columns = np.stack([np.concatenate([s[f].values.ravel() for f in ("Tracer", "Velocity")]) for s in earlier], axis=1)
    anomalies = (columns - columns.mean(axis=1, keepdims=True)) / np.sqrt(columns.shape[1] - 1)
    at_sensors = multiply(h, anomalies[: mesh.n_nodes])
    innovation = values - multiply(h, now["Tracer"].values)
    gain = anomalies @ at_sensors.T @ np.linalg.inv(at_sensors @ at_sensors.T + ERROR**2 * np.eye(len(values)))
    expected = np.concatenate([now[f].values.ravel() for f in ("Tracer", "Velocity")]) + gain @ innovation
    found = np.concatenate([analysis[f].values.ravel() for f in ("Tracer", "Velocity")])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected[: mesh.n_nodes] - now["Tracer"].values).max() > 0.05


@pytest.mark.parametrize("name", EVERY_SHAPE)
def test_on_a_grid_it_nears_the_readings(name, tmp_path):
    grid = "{spacing: [0.3, 0.3]}" if shaped_mesh(name).shape.dimension == 2 else "{spacing: 0.3}"
    analysis, now, _, places, values = made(tmp_path, name, grid)
    h, _ = sampling(now["Tracer"].mesh, "point", places, COMM)
    before, after = (np.linalg.norm(values - multiply(h, s["Tracer"].values)) for s in (now, analysis))
    assert after < 0.7 * before
    if now["Tracer"].mesh.shape.dimension == 2:
        assert (analysis["Velocity"].values[:, 2] == 0.0).all()
