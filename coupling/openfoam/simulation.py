"""OpenFOAM as the plugin sees it: its cases, their times and the numbers in their dictionaries in one bundle."""

from pathlib import Path

from coupling.openfoam import checkpoint, numbers
from coupling.openfoam.restart import OpenFoamRestart
from coupling.openfoam.series import open_series
from coupling.simulation.simulation import Simulation

_SMALL = ("system", "postProcessing")  # folders of settings and of what function objects wrote


def open_restart(path: str | Path) -> OpenFoamRestart:
    """Open a case at the time that its `startFrom` means, or at the time TIME of CASE/TIME, a restart's own path.

    FileError as `coupling.openfoam.checkpoint.open_restart`
    """
    path = Path(path)
    if (path / "system").is_dir() or not (path.parent / "system").is_dir():
        return checkpoint.open_restart(path)
    return checkpoint.open_restart(path.parent, path.name)


def _number_at(restart: OpenFoamRestart, place: str) -> float:
    return numbers.number_at(restart.case, restart.time_name, place)


def _holds_states(path: Path) -> bool:
    """Files in folders of times and meshes: TIME/U, TIME/uniform/time, polyMesh/points. Settings, logs, probes stay."""
    above = path.parts[-5:-1]
    if any(name in _SMALL for name in above):
        return False
    folder = above[-2] if above[-1] == "uniform" else above[-1]
    return "polyMesh" in above or _is_time(folder)


def _is_time(name):
    try:
        return float(name) >= 0.0
    except ValueError:
        return False


OPENFOAM = Simulation(
    name="OpenFOAM",
    open_restart=open_restart,
    read_fields=checkpoint.read_fields,
    write_restart=checkpoint.write_restart,
    restart_files=checkpoint.restart_files,
    open_series=open_series,
    holds_states=_holds_states,
    wrong_processes=checkpoint.wrong_processes,
    number_at=_number_at,
    boundary="OpenFOAM's patches have names, and its first step takes the divergence out of a changed velocity itself",
)
