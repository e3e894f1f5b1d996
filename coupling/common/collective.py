"""What all ranks do together: errors that every rank raises, and work that one rank does for all."""

from collections.abc import Callable
from typing import TypeVar

from mpi4py import MPI

Result = TypeVar("Result")


def raise_together(problem: Exception | None, comm: MPI.Comm) -> None:
    """Raise the lowest rank's problem on every rank, or nothing anywhere. Collective.

    Where the ranks do not all say the same, the message ends with the rank that met the problem.

    Parameters
    ----------
    problem : what this rank found wrong, or None
    comm : MPI communicator
    """
    problems = comm.allgather(problem)
    rank = next((number for number, of in enumerate(problems) if of is not None), None)
    if rank is None:
        return
    first = problems[rank]
    if len({str(of) for of in problems}) > 1 and [type(part) for part in first.args] == [str]:
        first.args = (f"{first} (rank {rank})",)
    raise first


def refuse_together(message: str | None, comm: MPI.Comm, kind: type[Exception] = ValueError) -> None:
    """`raise_together` where a problem is told by its message, None if there is none. Collective."""
    raise_together(None if message is None else kind(message), comm)


def on_rank_0(work: Callable[[], Result], comm: MPI.Comm) -> Result:
    """What `work()` returns on rank 0, on every rank; an OSError or ValueError that it raises, likewise. Collective."""
    done, problem = None, None
    if comm.rank == 0:
        try:
            done = work()
        except (OSError, ValueError) as error:
            problem = error
    done, problem = comm.bcast((done, problem))
    if problem is not None:
        raise problem
    return done
