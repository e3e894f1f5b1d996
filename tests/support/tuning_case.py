"""Archives of random states whose covariance is known, and cases with sensors in them, for the tests of plugin.tune."""

import csv

import numpy as np
import yaml
from box_mesh import box_mesh
from mpi4py import MPI

from coupling.archive import ArchiveWriter
from coupling.geometry.mesh import Field, State
from plugin.case.configuration import read_case

COMM = MPI.COMM_SELF
SIZE = (200.0, 160.0, 20.0)
STEP = 2.0  # s


def mesh():
    return box_mesh((10, 8, 2), SIZE, shake=0.0)[0]


def draws(n_states, length, memory=0.0, seed=0):
    """(n_states, N) states with covariances exp(−δ²/2 length²), AR(1) in time; node by node on `mesh()`."""
    points, rng = mesh().points, np.random.default_rng(seed)
    squared = np.sum((points[:, None] - points[None]) ** 2, axis=2)
    values, vectors = np.linalg.eigh(np.exp(-0.5 * squared / length**2))
    white = rng.standard_normal((n_states, len(points)))
    for k in range(1, n_states):
        white[k] = memory * white[k - 1] + np.sqrt(1.0 - memory**2) * white[k]
    return white @ (vectors * np.sqrt(np.maximum(values, 0.0))).T


def write_archive(path, tracer, wind=None):
    """Write states, (S, N) and (S, N, 3), two seconds apart."""
    of = mesh()
    path.parent.mkdir(parents=True, exist_ok=True)
    with ArchiveWriter(path, COMM) as archive:
        for k, values in enumerate(tracer):
            fields = {"Tracer": Field("Tracer", of, 3.0 + values)}
            if wind is not None:
                fields["Velocity"] = Field("Velocity", of, np.ascontiguousarray(wind[k]))
            archive.append(State(STEP * k, fields))


def write_sensors(path, places, variables=("Tracer",), error=0.1, times=(10.0,)):
    """Readings whose values do not matter."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("time", "x", "y", "z", "variable", "value", "error"))
        for time in times:
            table.writerows((time, *place, name, 0.0, error) for name in variables for place in places)


def sensor_places(count, seed=1):
    return np.random.default_rng(seed).uniform(0.05, 0.95, (count, 3)) * SIZE


def tuning_case(folder, variables=("Tracer",), background=None, observations=None, **sections):
    """A case in a folder with states.vtkhdf and readings.csv."""
    values = {
        "grid": {"space": "mesh"},
        "variables": list(variables),
        "background": {"snapshots": [{"path": str(folder / "states.vtkhdf")}], **(background or {})},
        "observations": {"file": str(folder / "readings.csv"), **(observations or {})},
        "run": str(folder / "run"),
        **sections,
    }
    (folder / "case.yml").write_text(yaml.safe_dump(values))
    return read_case(folder / "case.yml", needed=("observations",))
