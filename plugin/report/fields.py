"""The last window's fields as its files hold them: background, analysis, and standard deviations."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.geometry.mesh import Field, Mesh
from coupling.vtk.vtu import read_state
from plugin.run.retention import window_folder
from plugin.state.transfer import variables_of

_ALONE = MPI.COMM_SELF


@dataclass(frozen=True)
class Shown:
    """One variable of the last window, on its mesh.

    name : of the variable
    mesh, location : what its values are on
    background, analysis : (n,) in its units
    std : Field of the analysis' standard deviation, which may be on a mesh of its own; or None
    """

    name: str
    mesh: Mesh
    location: str
    background: np.ndarray
    analysis: np.ndarray
    std: Field | None

    @property
    def increment(self):
        """(n,) analysis − background."""
        return self.analysis - self.background


def last_fields(run):
    """The variables of a run's last window, in the order of its case.

    Returns
    -------
    list of Shown

    Raises
    ------
    FileError, MeshError
        if files of the window are missing or broken
    """
    names = sorted({name.rpartition(".")[0] or name for name in run.settings["variables"]})
    before, after = (
        read_fields(open_restart(run.folder / run.last[key]), _ALONE, names) for key in ("forecast", "restart")
    )
    errors = _standard_deviations(run)
    return [
        Shown(
            v.name,
            before[v.field].mesh,
            before[v.field].location,
            v.of(before[v.field].values),
            v.of(after[v.field].values),
            errors.get(f"{v.name}.analysis"),
        )
        for v in variables_of(run.settings["variables"], before)
    ]


def _standard_deviations(run):
    """{"VARIABLE.analysis", "VARIABLE.background": Field} as `diagnostics.posterior` left them; or none."""
    found = {}
    for path in sorted(window_folder(run.folder, run.last["window"]).glob("posterior*.*vtu")):
        found.update(read_state(path, _ALONE).fields)
    return found
