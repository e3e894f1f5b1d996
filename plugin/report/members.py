"""Members of an ensemble as a page shows them: how many exceed a limit, one state in memory, and their scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import AnyMesh, Field, State
from plugin.case.variables import field_of
from plugin.ensemble.scores import COLUMNS
from plugin.report.run import Run, simulation_of_run
from plugin.run.tables import read_tables
from plugin.state.transfer import variables_of

_ALONE = MPI.COMM_SELF


@dataclass(frozen=True)
class Exceedance:
    """The part of the members whose last analysis exceeds a limit.

    name : of the variable; limit : in its units
    mesh, location : of the values
    probability : (n,) in [0, 1]
    """

    name: str
    limit: float
    mesh: AnyMesh
    location: str
    probability: np.ndarray


def has_members(run: Run) -> bool:
    """Whether a run, of one window or more, is of an ensemble."""
    return "members" in run.last


def exceedances(run: Run) -> list[Exceedance]:
    """One for each limit of the case's `report.exceed`; a variable that is not analysed has none."""
    limits: Mapping[str, float] = run.settings.get("report", {}).get("exceed", {})
    counts: dict[str, np.ndarray] = {}
    fields: dict[str, Field] = {}
    for state in _analyses(run) if limits else ():
        for v in variables_of(run.settings["variables"], state):
            of = state[v.field]
            if v.name in limits and fields.setdefault(v.name, of).mesh.fingerprint == of.mesh.fingerprint:
                counts[v.name] = counts.get(v.name, 0.0) + (v.of(of.values) > limits[v.name])
    return [
        Exceedance(name, limits[name], fields[name].mesh, fields[name].location, count / len(run.last["members"]))
        for name, count in counts.items()
    ]


def scores(run: Run) -> dict[str, np.ndarray]:
    """{column of readings.csv: (N,)} of all readings, the members' columns among them."""
    table = read_tables(run.folder, COLUMNS)
    done = np.isin(table["window"], [entry["window"] for entry in run.entries])
    return {name: column[done] for name, column in table.items()}


def _analyses(run: Run) -> Iterator[State]:
    names = sorted({field_of(name) for name in run.settings["variables"]})
    simulation = simulation_of_run(run)
    for member in run.last["members"]:
        yield simulation.read_fields(simulation.open_restart(run.folder / member["restart"]), _ALONE, names)
