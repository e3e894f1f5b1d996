"""One job at a time in a run folder: RUN/lock names who has it; see :mod:`coupling.common.locks`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import refuse_links
from coupling.common.locks import InUseError, give_back, take
from plugin.case.configuration import ConfigurationError


@contextmanager
def locked(
    folder: Path, comm: MPI.Comm, say: Callable[[str], None] = lambda text: None, depth: int = 1
) -> Iterator[None]:
    """Have a run folder, made if it is not there, for the time of the block. Collective.

    Parameters
    ----------
    folder : Path
    comm : MPI communicator
    say : function of a text, called on rank 0 if a lock is taken over
    depth : levels of folders below whose files are the run's own, where no link is followed

    Raises
    ------
    ConfigurationError
        on every rank, if another job has it, or may have it
    FileError
        on every rank, if a link stands where the run's own files and folders do
    """
    on_rank_0(lambda: _take(folder, say), comm)
    try:
        on_rank_0(lambda: refuse_links(folder, depth), comm)
        yield
    finally:
        if comm.rank == 0:
            give_back(folder / "lock")


def _take(folder, say):
    try:
        take(folder / "lock", "this run folder", say)
    except InUseError as error:
        raise ConfigurationError(str(error)) from None
    except OSError as error:
        if folder.is_dir():  # the lock itself cannot be written
            raise
        raise ConfigurationError(f"run: {folder} cannot be made a folder: {error.strerror}; choose another") from None
