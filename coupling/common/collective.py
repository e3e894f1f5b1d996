"""What all ranks do together: errors that every rank raises, and work that rank 0 does for all."""

from collections.abc import Callable
from typing import TypeVar

from mpi4py import MPI

from coupling.common.waiting import wait_asleep

Result = TypeVar("Result")


def raise_together(problem: Exception | None, comm: MPI.Comm) -> None:
    """Raise the lowest rank's problem on every rank, or nothing anywhere. Collective.

    If the ranks have different problems, or only some have one, the message ends with the rank.

    Parameters
    ----------
    problem : this rank's error, or None
    comm : MPI communicator
    """
    problems = comm.allgather(problem)
    rank = next((number for number, error in enumerate(problems) if error is not None), None)
    if rank is None:
        return
    first = problems[rank]
    if len({str(error) for error in problems}) > 1 and [type(part) for part in first.args] == [str]:
        first.args = (f"{first} (rank {rank})",)
    raise first


def refuse_together(message: str | None, comm: MPI.Comm, kind: type[Exception] = ValueError) -> None:
    """`raise_together` for a problem given by its message, or None. Collective."""
    raise_together(None if message is None else kind(message), comm)


def on_rank_0(work: Callable[[], Result], comm: MPI.Comm) -> Result:
    """What `work()` returns on rank 0, on every rank; its OSError or ValueError is raised on every rank. Collective."""
    return _shared(_attempt(work, comm), comm)


def on_rank_0_asleep(work: Callable[[], Result], comm: MPI.Comm) -> Result:
    """`on_rank_0` for work that takes long: the other ranks sleep, and their watchdogs wait with them. Collective."""
    attempt = _attempt(work, comm)
    wait_asleep(comm)
    return _shared(attempt, comm)


def _attempt(work, comm):
    """(result, None) or (None, problem) on rank 0; elsewhere (None, None)."""
    if comm.rank == 0:
        try:
            return work(), None
        except (OSError, ValueError) as error:
            return None, error
    return None, None


def _shared(attempt, comm):
    done, problem = comm.bcast(attempt)
    if problem is not None:
        raise problem
    return done
