"""The last window's fields from its files: background, analysis, and standard deviations."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.archive.series import read_written, written_states
from coupling.geometry.mesh import AnyMesh, Field
from plugin.case.variables import field_of
from plugin.ensemble.moments import OF_FORECASTS, read_moments
from plugin.report.members import has_members
from plugin.report.run import Run, simulation_of_run
from plugin.run.retention import window_folder
from plugin.state.transfer import variables_of

_ALONE = MPI.COMM_SELF


@dataclass(frozen=True)
class VariableFields:
    """One variable of the last window, on its mesh.

    name : of the variable
    mesh, location : of its values
    background, analysis : (n,) in its units
    std : standard deviation of the analysis, which may have a mesh of its own; or None
    """

    name: str
    mesh: AnyMesh
    location: str
    background: np.ndarray
    analysis: np.ndarray
    std: Field | None

    @property
    def increment(self) -> np.ndarray:
        """(n,) analysis − background."""
        return self.analysis - self.background


def last_fields(run: Run) -> list[VariableFields]:
    """The variables of a run's last window, in the order of its case; of an ensemble means and their spread.

    Raises
    ------
    FileError, MeshError
        if files of the window are missing or broken
    """
    names = sorted({field_of(name) for name in run.settings["variables"]})
    errors = _standard_deviations(run)
    if has_members(run):
        folder = window_folder(run.folder, run.last["window"])
        (before, _), (after, spread) = (read_moments(folder, _ALONE, of) for of in (OF_FORECASTS, ""))
        for v in variables_of(run.settings["variables"], after):
            of = spread[v.field]
            errors[f"{v.name}.analysis"] = Field(v.name, of.mesh, v.of(of.values), of.location)
    else:
        simulation = simulation_of_run(run)
        before, after = (
            simulation.read_fields(simulation.open_restart(run.folder / run.last[key]), _ALONE, names)
            for key in ("forecast", "restart")
        )
    return [
        VariableFields(
            v.name,
            before[v.field].mesh,
            before[v.field].location,
            v.of(before[v.field].values),
            v.of(after[v.field].values),
            errors.get(f"{v.name}.analysis"),
        )
        for v in variables_of(run.settings["variables"], before)
    ]


def _standard_deviations(run: Run) -> dict[str, Field]:
    """{"VARIABLE.analysis", "VARIABLE.background": Field} as `diagnostics.posterior` wrote them, if it did."""
    fields: dict[str, Field] = {}
    for path in written_states(window_folder(run.folder, run.last["window"]), "posterior*"):
        fields.update(read_written(path, _ALONE).fields)
    return fields
