"""The steps of da.background.tsqr for a matrix that is there as a whole, or split by rows over ranks."""

import numpy as np

from da.background.snapshots import row_blocks
from da.background.tsqr import Triangle, shared_svd, triangle_of_all


def triangular_factor(rows, comm):
    """R of the QR factorisation, up to the signs of its rows: (S, S) on rank 0, None elsewhere."""
    triangle = Triangle(rows.shape[1])
    for block in row_blocks(rows.shape):
        triangle.add(np.array(rows[block], dtype=np.float64, order="F"))
    return triangle_of_all(triangle, comm)


def right_singular(rows, comm):
    """(S,) singular values and (S, S) right singular vectors, the same on every rank."""
    return shared_svd(triangular_factor(rows, comm), rows.shape[1], comm)
