"""Singular values and right singular vectors of a tall matrix whose rows lie over the ranks.

Each rank reduces its own rows to a triangle, block by block, the triangles are combined pairwise in a tree (Demmel et
al. 2012, SIAM J. Sci. Comput. 34, A206), and the last one has the singular values of the whole matrix. Neither Q nor
the matrix itself is ever gathered; the left vectors, where needed, are A W / σ.
"""

import numpy as np
from mpi4py import MPI
from scipy.linalg.lapack import dtpqrt

_TIE = 1e-6  # entries closer than this count as equally large when a sign is chosen
_PANEL = 32  # columns that LAPACK reduces together


class Triangle:
    """R of the QR factorisation of the rows added so far, up to the signs of R's rows.

    A block costs 2 S² FLOPs for each of its rows, and no memory: LAPACK's tpqrt works in place on R and the block.

    values : (S, S) float64, upper triangle
    """

    def __init__(self, n_columns: int) -> None:
        self.values = np.zeros((n_columns, n_columns), order="F")

    def add(self, rows: np.ndarray) -> None:
        """Add rows, (m, S) float64; those in Fortran order are overwritten."""
        self._take(rows, 0)

    def add_triangle(self, triangle: np.ndarray) -> None:
        """Add another upper triangle, (S, S); it is overwritten if in Fortran order."""
        self._take(triangle, len(triangle))

    def _take(self, rows: np.ndarray, n_triangular: int) -> None:
        if rows.size:
            panel = min(_PANEL, rows.shape[1])
            self.values = dtpqrt(n_triangular, panel, self.values, rows, overwrite_a=True, overwrite_b=True)[0]


def triangle_of_all(triangle: Triangle, comm: MPI.Comm) -> np.ndarray | None:
    """One triangle for the rows of all ranks. Collective.

    Parameters
    ----------
    triangle : Triangle of this rank's rows; it is used up

    Returns
    -------
    (S, S) on rank 0, None elsewhere
    """
    step = 1
    while step < comm.size:
        if comm.rank % (2 * step):
            comm.Send(triangle.values.T, dest=comm.rank - step)
            return None
        if comm.rank + step < comm.size:
            received = np.empty_like(triangle.values.T)
            comm.Recv(received, source=comm.rank + step)
            triangle.add_triangle(received.T)
        step *= 2
    return np.triu(triangle.values)


def shared_svd(triangle: np.ndarray | None, n_columns: int, comm: MPI.Comm) -> tuple[np.ndarray, np.ndarray]:
    """Singular values and right singular vectors, A = U Σ Wᵀ, the same on every rank. Collective.

    The sign of a vector is such that its largest entry is positive. Vectors of equal singular values are determined
    only as a set: they may come out rotated among themselves.

    Parameters
    ----------
    triangle : what `triangle_of_all` returns, for A's rows on all ranks
    n_columns : S
    comm : MPI communicator

    Returns
    -------
    sigma : (S,) in falling order
    right : (S, S), W; its columns belong to sigma
    """
    sigma, right = np.zeros(n_columns), np.empty((n_columns, n_columns))
    if triangle is not None:
        _, sigma[:], transposed = np.linalg.svd(triangle)
        right[:] = _with_sign(transposed.T)
    comm.Bcast(sigma)
    comm.Bcast(right)
    return sigma, right


def _with_sign(vectors: np.ndarray) -> np.ndarray:
    size = np.abs(vectors)
    # entries of equal size and opposite sign are the rule: rounding must not choose between them
    first = np.argmax(size >= (1.0 - _TIE) * size.max(axis=0), axis=0)
    return vectors * np.where(vectors[first, np.arange(vectors.shape[1])] < 0.0, -1.0, 1.0)
