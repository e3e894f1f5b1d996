"""What OpenFOAM continues from: a case folder and one of its times."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OpenFoamRestart:
    """What OpenFOAM continues from.

    case : the case folder
    time_name : the name of the time folder
    name : the solver, as the case's controlDict names it
    timestep : s; where steps are adjusted, the last one's
    pieces : the folders that hold the mesh and the times: the case itself, or its processor folders
    fields : {name: name of its file in the time folder} of the fields in cells
    """

    case: Path
    time_name: str
    name: str
    timestep: float
    pieces: tuple[Path, ...]
    fields: dict[str, str]

    @property
    def is_cut(self) -> bool:
        """Whether it lies in processor folders."""
        return self.pieces != (self.case,)

    @property
    def path(self) -> Path:
        """CASE/TIME, which names the time as well; of a case in pieces there is no such folder."""
        return self.case / self.time_name

    @property
    def folder(self) -> Path:
        """The case folder."""
        return self.case

    @property
    def time(self) -> float:
        """s, from the name of the time folder."""
        return float(self.time_name)
