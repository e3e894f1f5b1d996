"""Rows of matrices that are sent between ranks."""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI


def exchanged(rows: np.ndarray, counts: Sequence[int], comm: MPI.Comm) -> tuple[np.ndarray, list[int]]:
    """Each rank's rows, sent to the ranks that they are for. Collective.

    Parameters
    ----------
    rows : (k, …) of float64 or int64, those for rank 0 first; all ranks' rows have one shape and type
    counts : rows for each rank, k in all
    comm : MPI communicator

    Returns
    -------
    the rows from rank 0, from rank 1, …; and how many came from each
    """
    incoming = comm.alltoall([int(count) for count in counts])
    received = np.empty((sum(incoming), *rows.shape[1:]), rows.dtype)
    # a type for one row keeps the counts small enough for MPI's int where rows × columns are not
    element = {np.dtype(np.float64): MPI.DOUBLE, np.dtype(np.int64): MPI.INT64_T}[rows.dtype]
    row = element.Create_contiguous(int(np.prod(rows.shape[1:]))).Commit()
    comm.Alltoallv(
        [np.ascontiguousarray(rows), (list(counts), _starts(counts)), row],
        [received, (incoming, _starts(incoming)), row],
    )
    row.Free()
    return received, incoming


def _starts(counts: Sequence[int]) -> list[int]:
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int).tolist()
