"""A forecast model that writes a plume down from its parameters, in the plugin's own process: no run takes any time.

parameters.json has speed, source_y and strength. With the environment's LIMIT a strength above it is too much.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coupling.common.collective import on_rank_0
from coupling.common.files import whole_folder
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.mesh import State
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import ModelError
from coupling.simulation.parameters import PARAMETERS, read_entries
from coupling.simulation.simulation import Simulation
from coupling.vtk.dumps import write_dump

STEP = 4.0  # s, between dumps


@dataclass(frozen=True)
class Plume:
    limit: float
    tracer: dict = field(default_factory=dict)
    simulation: Simulation = FLUIDITY

    def run(self, start, until, folder, comm):
        """See coupling.simulation.forecast.ForecastModel."""
        began = time.perf_counter()
        of = on_rank_0(lambda: read_entries(start.folder / PARAMETERS), comm)
        if of["strength"] > self.limit:
            raise ModelError(f"a strength of {of['strength']:g} is too much")
        first = read_fields(start, comm)
        state = first
        with whole_folder(Path(folder), comm) as beside:
            for number, now in enumerate(np.arange(start.time, until + 0.5 * STEP, STEP)):
                state = State(float(now), {"Tracer": plume(first["Tracer"], now, of)})
                write_dump(state, beside / f"plume_{number}", comm)
            target = beside / "checkpoint"
            write_restart(start, target, comm, state.fields, edit=lambda tree: _at(tree, state.time))
        restart = open_restart(Path(folder) / "checkpoint/restart.flml")
        return Forecast(restart, state, Path(folder), time.perf_counter() - began)


def plume(tracer, now, of):
    """The tracer's field at a time."""
    x, y, z = tracer.mesh.points.T
    along = np.maximum(x - 5.0, 0.0)
    width = 6.0 + 0.15 * along
    arrived = 1.0 / (1.0 + np.exp((along - 5.0 * of["speed"] * now) / 8.0))
    across = np.exp(-0.5 * ((y - of["source_y"]) / width) ** 2 - 0.5 * ((z - 5.0) / 8.0) ** 2)
    return tracer.replaced(10.0 * of["strength"] / width * arrived * across)


def _at(tree, now):
    flml.set_option(tree, "timestepping/current_time", float(now))


def driver(environment=None, **settings):
    return Plume(float((environment or {}).get("LIMIT", np.inf)))
