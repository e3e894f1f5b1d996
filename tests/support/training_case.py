"""A case with a small network, and dumps of twenty states that it can learn from."""

import numpy as np
import yaml
from mpi4py import MPI
from places import ROOT

from coupling.geometry.mesh import State
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import read_state
from plugin.case.configuration import read_case

COMM = MPI.COMM_SELF
N_STATES, N_VALIDATION = 20, 4


def write_states(folder, names=("early", "late")):
    """Two runs that take turns in time, on the mesh of a parallel Fluidity run."""
    rng = np.random.default_rng(3)
    first = read_state(ROOT / "tests/data/fluidity/parallel/mini_2.pvtu", COMM, ["Tracer", "Velocity"])
    x = first["Tracer"].mesh.points / 100.0
    for k in range(N_STATES):
        a, b = rng.standard_normal(2)
        fields = {
            "Tracer": first["Tracer"].replaced(5.0 + a * (1.0 + x[:, 0]) + b * np.sin(x[:, 1])),
            "Velocity": first["Velocity"].replaced(10.0 * (a - b) * x + 1.0),
        }
        run = folder / names[k % 2]
        run.mkdir(parents=True, exist_ok=True)
        write_dump(State(float(k), fields), run / f"state_{k}", COMM)


def write_case(folder, states, grid=None, network=None, **training):
    """Write case.yml; the network's file and the run lie beside it."""
    told = {
        "grid": grid or {"shape": [6, 5, 4]},
        "variables": ["Velocity.y", "Tracer"],
        "background": {"snapshots": [{"path": f"{states}/early"}, {"path": f"{states}/late"}]},
        "network": {
            "file": "net.safetensors",
            "name": "small_networks:Small",
            **(network or {}),
            "training": {"validation": 0.2, "epochs": 3, "batch": 4, "schedule": "constant", **training},
        },
    }
    (folder / "case.yml").write_text(yaml.safe_dump(told))
    return folder / "case.yml"


def make_case(folder, states, **told):
    return read_case(write_case(folder, states, **told), needed=("network",))
