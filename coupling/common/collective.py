"""Errors that every rank raises, so that none is left waiting for one that has gone."""


def raise_together(problem, comm, kind=ValueError):
    """Raise the lowest rank's problem on every rank, or nothing anywhere. Collective.

    Parameters
    ----------
    problem : message of what this rank found wrong, or None
    comm : MPI communicator
    kind : class of the exception
    """
    for rank, message in enumerate(comm.allgather(problem)):
        if message is not None:
            where = f" (rank {rank})" if comm.size > 1 else ""
            raise kind(message + where)
