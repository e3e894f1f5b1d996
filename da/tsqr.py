"""Singular values and right singular vectors of a tall matrix whose rows lie over the ranks.

Each rank reduces its own rows to a triangle, the triangles meet pairwise in a tree (Demmel et al.
2012, SIAM J. Sci. Comput. 34, A206), and the last one has the singular values of the whole matrix.
Neither Q nor the matrix itself is ever gathered; the left vectors, where wanted, are A W / σ.
"""

import numpy as np
from mpi4py import MPI

_TIE = 1e-6  # entries closer than this count as equally large when a sign is chosen


def triangular_factor(rows, comm):
    """R of the QR factorisation of a matrix split by rows, up to the signs of R's rows. Collective.

    Parameters
    ----------
    rows : (n_local, S) float64, this rank's rows; any number of them, also none
    comm : MPI communicator

    Returns
    -------
    (min(n, S), S) upper triangle or trapezium on rank 0, None elsewhere
    """
    triangle = _reduced(rows)
    step = 1
    while step < comm.size:
        if comm.rank % (2 * step):
            comm.Send(triangle, dest=comm.rank - step)
            return None
        if comm.rank + step < comm.size:
            triangle = _reduced(np.concatenate([triangle, _received(triangle.shape[1], comm.rank + step, comm)]))
        step *= 2
    return triangle


def _reduced(rows):
    # no more rows than columns is small enough to be passed on as it is
    return np.linalg.qr(rows, mode="r") if rows.shape[0] > rows.shape[1] else np.ascontiguousarray(rows)


def _received(n_columns, source, comm):
    buffer, status = np.empty((n_columns, n_columns)), MPI.Status()
    comm.Recv(buffer, source=source, status=status)
    return buffer[: status.Get_count(MPI.DOUBLE) // n_columns]


def right_singular(rows, comm):
    """Singular values and right singular vectors, A = U Σ Wᵀ, the same on every rank. Collective.

    The sign of a vector is such that its largest entry is positive. Vectors of equal singular
    values are determined only as a set: they may come out rotated among themselves.

    Parameters
    ----------
    rows : (n_local, S) float64, this rank's rows of A; any number of them, also none
    comm : MPI communicator

    Returns
    -------
    sigma : (S,) in falling order
    right : (S, S), W; its columns belong to sigma
    """
    n_columns = rows.shape[1]
    sigma, right = np.zeros(n_columns), np.empty((n_columns, n_columns))
    triangle = triangular_factor(rows, comm)
    if comm.rank == 0:
        # all right vectors are asked for, so those of a null space are there as well
        _, found, transposed = np.linalg.svd(triangle, full_matrices=True)
        sigma[: len(found)] = found
        right[:] = _with_sign(transposed.T)
    comm.Bcast(sigma)
    comm.Bcast(right)
    return sigma, right


def _with_sign(vectors):
    size = np.abs(vectors)
    # two entries of equal size and unlike sign are the rule, not the exception: rounding must not choose
    first = np.argmax(size >= (1.0 - _TIE) * size.max(axis=0), axis=0)
    return vectors * np.where(vectors[first, np.arange(vectors.shape[1])] < 0.0, -1.0, 1.0)
