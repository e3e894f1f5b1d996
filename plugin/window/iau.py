"""Incremental analysis update: the increment in equal parts over the first time of a forecast (Bloom et al. 1996).

An increment that is added at once may excite spurious waves. Here the model continues from the last forecast plus a
K-th of the increment, is stopped after a K-th of the time, gets the next part, and so on. The increment is the
difference of the previous window's restarts: the analysis is written in full, as always, so that a resumed run does the
same.

    RUN/0007/parts/1/start/       the last forecast and the first part
    RUN/0007/parts/1/forecast/    the model's run from there until the next part
    RUN/0007/forecast/            its run from the last part until the end of the window
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.geometry.mesh import MeshError, State
from coupling.simulation.forecast import Forecast
from coupling.simulation.simulation import Restart, Simulation
from plugin.case.configuration import IauSection
from plugin.run.recovery import Beginning


def forecast_in_parts(
    beginning: Beginning,
    until: float,
    asked: IauSection,
    run: Callable[[Restart, float], Forecast],
    folder: Path,
    bounded: Callable[[State], State],
    simulation: Simulation,
    comm: MPI.Comm,
) -> Forecast:
    """Forecast to the end of a window, giving the previous increment in parts. Collective.

    Parameters
    ----------
    beginning : Beginning
    until : s
    asked : IauSection
    run : function of a Restart and a time [s], which forecasts in `folder`/forecast. Collective
    folder : of the window
    bounded : function of a State, which brings a sum of forecast and part within its bounds. Collective
    simulation : Simulation of the restarts
    comm : MPI communicator

    Returns
    -------
    Forecast, its `seconds` those of all parts

    Raises
    ------
    MeshError
        if the model changes its mesh on the way
    ModelError
        as `run`
    """
    now, began, seconds = beginning.background, beginning.restart.time, 0.0
    if now is None:  # no increment
        return run(beginning.restart, until)
    state, analysis = (simulation.read_fields(one, comm) for one in (now, beginning.restart))
    parts = _parts(state, analysis, asked.parts, comm)
    for k in range(1, asked.parts + 1):
        sums = bounded(State(state.time, {name: _plus(state[name], part) for name, part in parts.items()}))
        inside, last = folder / "parts" / str(k), k == asked.parts
        start = simulation.write_restart(now, inside / "start", comm, sums.fields)
        made = run(start, until if last else began + k * asked.over / asked.parts)
        state, seconds = made.state, seconds + made.seconds
        if not last:
            now = _set_aside(made.restart, inside / "forecast", simulation, comm)
    return replace(made, seconds=seconds)


def _set_aside(restart, folder, simulation, comm):
    """The restart of a run whose folder is moved. Collective."""
    on_rank_0(lambda: os.replace(restart.folder, folder), comm)
    return simulation.open_restart(folder / restart.path.relative_to(restart.folder))


def _parts(before, after, count, comm):
    """{name: Field} of a part of each field's increment, where there is one."""
    parts = {}
    for name, of in before.fields.items():
        dx = after[name].values - of.values
        if comm.allreduce(int(np.any(dx))):
            parts[name] = of.replaced(dx / count)
    return parts


def _plus(of, part):
    if of.mesh.fingerprint != part.mesh.fingerprint:
        raise MeshError(
            f"cycle.iau: the model changed the mesh of {of.name} before all of the increment was given; leave iau out,"
            " or make `over` shorter than the time between adaptations"
        )
    return of.replaced(of.values + part.values)
