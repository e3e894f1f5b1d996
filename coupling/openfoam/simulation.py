"""OpenFOAM as the plugin sees it: its cases, their times and the numbers in their dictionaries in one bundle."""

from collections.abc import Collection
from pathlib import Path

from mpi4py import MPI

from coupling.openfoam import checkpoint, numbers
from coupling.openfoam.edit import refusal
from coupling.openfoam.installation import with_home
from coupling.openfoam.remarks import reads, remarks_on
from coupling.openfoam.restart import OpenFoamRestart
from coupling.openfoam.series import is_series, open_series
from coupling.simulation.advice import Plan, Remark
from coupling.simulation.parameters import PARAMETERS, Series
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


def _series_at(restart: OpenFoamRestart, place: str) -> Series | None:
    return numbers.series_at(restart.case, restart.time_name, place)


def _holds_states(path: Path) -> bool:
    """Files in folders of times and meshes: TIME/U, TIME/uniform/time, polyMesh/points. Settings, logs, probes stay."""
    above = path.parts[-5:-1]
    if any(name in _SMALL for name in above):
        return False
    folder = above[-2] if above[-1] == "uniform" else above[-1]
    return "polyMesh" in above or _is_time(folder)


def _check_start(restart: OpenFoamRestart, comm: MPI.Comm) -> None:
    checkpoint.read_fields(restart, comm)  # each field's lists have as many values as the mesh has cells


def _program(restart: OpenFoamRestart) -> tuple[str, ...]:
    return (restart.name,)


def _unread(restart: OpenFoamRestart, names: Collection[str]) -> dict[str, str]:
    """All, unless code in a dictionary opens the file: OpenFOAM itself reads no JSON."""
    advice = "OpenFOAM reads no JSON; give the entry: to: {option: constant/transportProperties:nu}, docs/openfoam.md"
    return {} if reads(restart, PARAMETERS) else dict.fromkeys(names, advice)


def _remarks(start: Path, plan: Plan) -> list[Remark]:
    return remarks_on(open_restart(start), plan)


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
    is_series=is_series,
    holds_states=_holds_states,
    program=_program,
    refusal=refusal,
    wrong_processes=checkpoint.wrong_processes,
    check_start=_check_start,
    number_at=_number_at,
    series_at=_series_at,
    unread=_unread,
    environment=with_home,
    version_words=("-help",),
    version_lines="Using:|Build:",
    remarks=_remarks,
    boundary="OpenFOAM's patches have names, and its first step takes the divergence out of a changed velocity itself",
)
