"""The forecast model as the cycle sees it: it continues from a restart to a given time and leaves another restart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol

from mpi4py import MPI

from coupling.geometry.mesh import State
from coupling.simulation.simulation import R, Simulation


@dataclass(frozen=True)
class Forecast(Generic[R]):
    """What a model run left.

    restart : the checkpoint at its end
    state : the checkpoint's fields, checked to be finite, at the exact time of the last dump
    folder : where dumps, checkpoint and logs lie
    seconds : wall-clock time of the model [s]
    """

    restart: R
    state: State
    folder: Path
    seconds: float


class ForecastModel(Protocol[R]):
    """Anything that can continue from a restart; `coupling.contract` tests that a driver does what is promised here."""

    @property
    def simulation(self) -> Simulation[R]:
        """Whose restarts it takes and leaves."""

    def run(self, start: R, until: float, folder: Path, comm: MPI.Comm) -> Forecast[R]:
        """Run from `start` until `until` [s] in the new folder `folder`. Collective.

        The model arrives at the end of the first time step that reaches `until`, give or take a thousandth
        of a step; the state has the exact time.

        Parameters
        ----------
        start : the checkpoint, or cold start, to continue from; its files stay as they are
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
