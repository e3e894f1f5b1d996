"""The forecast model as the cycle sees it: anything that goes on from a restart until a time and leaves another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mpi4py import MPI

from coupling.geometry.mesh import State


class Restart(Protocol):
    """What a model goes on from: a folder of its own files, opened, changed and written as a whole."""

    @property
    def folder(self) -> Path:
        """Where all its files lie."""

    @property
    def name(self) -> str:
        """The simulation's name."""

    @property
    def time(self) -> float:
        """s, as the restart's own files have it."""

    @property
    def timestep(self) -> float:
        """s."""


@dataclass(frozen=True)
class Forecast:
    """What a model run left.

    restart : the checkpoint at its end
    state : the checkpoint's fields, checked to be finite, at the exact time of the last dump
    folder : where dumps, checkpoint and logs lie
    seconds : wall-clock time of the model [s]
    """

    restart: Restart
    state: State
    folder: Path
    seconds: float


class ForecastModel(Protocol):
    """Anything that can go on from a restart; `coupling.contract` checks that a driver keeps what is promised here."""

    def run(self, start: Restart, until: float, folder: Path, comm: MPI.Comm) -> Forecast:
        """Run from `start` until `until` [s] in the new folder `folder`. Collective.

        The model arrives at the end of the first time step that reaches `until`, give or take a thousandth
        of a step; the state tells the exact time.

        Parameters
        ----------
        start : the checkpoint, or cold start, to go on from; its files stay as they are
        until : s
        folder : must not be there yet; logs are kept in it, also after a failure
        comm : MPI communicator; the model's processes are others

        Raises
        ------
        ModelError
            on every rank, if the program cannot be started, fails, is stopped by a limit of time, does not arrive at
            `until`, or leaves files that cannot be read or values that are not finite
        FileExistsError
            if `folder` is there already
        FileError
            if a file of `start` is missing or broken
        """
