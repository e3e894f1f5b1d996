"""Thirty states of six random waves on the mesh of a parallel Fluidity run, and a case of experiments with them."""

import numpy as np
from mpi4py import MPI
from places import DATA

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.geometry.mesh import State
from coupling.vtk.dumps import write_dump
from plugin.case.configuration import read_case

COMM = MPI.COMM_SELF
RESTART = DATA / "parallel/mini_3_checkpoint.flml"
N_STATES, N_TRAINING = 30, 24
SHAPE = (17, 8, 7)


def write_states(folder):
    """Write the dumps, at 0 … 29 s."""
    folder.mkdir(parents=True)
    tracer, rng = read_fields(open_restart(RESTART), COMM, ["Tracer"])["Tracer"], np.random.default_rng(4)
    place = tracer.mesh.points / 100.0
    waves = np.sin(place @ rng.normal(size=(3, 6)) * 2.0 + rng.random(6) * 6.0) / np.arange(1, 7)
    for k in range(N_STATES):
        noise = 0.02 * rng.standard_normal(len(place))
        values = 3.0 + waves @ rng.standard_normal(6) + noise
        write_dump(State(float(k), {"Tracer": tracer.replaced(values)}), folder / f"s_{k}", COMM)


def experiment_case(folder, states, **experiment):
    """A case in a folder, with keys of its section `experiment`."""
    extra = "".join(f"  {name}: {value}\n" for name, value in experiment.items())
    (folder / "case.yml").write_text(
        f"grid: {{shape: {list(SHAPE)}}}\nvariables: [Tracer]\nbackground: {{snapshots: [{{path: {states}}}]}}\n"
        f"experiment:\n  truncation: 4\n{extra}"
    )
    return read_case(folder / "case.yml", needed=("experiment",))
