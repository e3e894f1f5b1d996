"""Rows that are sent between ranks."""

import numpy as np
from mpi4py import MPI

from coupling.common.rows import exchanged

RANKS = """
import numpy as np
from mpi4py import MPI
from coupling.common.rows import exchanged

comm = MPI.COMM_WORLD
# rank r sends to rank k: k + r rows, each with sender and receiver
counts = [k + comm.rank for k in range(comm.size)]
rows = np.array([(comm.rank, k) for k in range(comm.size) for _ in range(counts[k])]).reshape(-1, 2)
for kind in (np.float64, np.int64):
    received, incoming = exchanged(rows.astype(kind), counts, comm)
    assert received.dtype == kind
    assert incoming == [comm.rank + sender for sender in range(comm.size)], incoming
    expected = [(sender, comm.rank) for sender in range(comm.size) for _ in range(comm.rank + sender)]
    assert received.tolist() == [list(row) for row in expected], received
"""


def test_each_row_reaches_its_rank(mpirun):
    mpirun(3, "-c", RANKS)


def test_one_rank_keeps_its_rows():
    rows = np.arange(12.0).reshape(4, 3)
    received, incoming = exchanged(rows, [4], MPI.COMM_SELF)
    assert incoming == [4]
    assert np.array_equal(received, rows)


def test_no_rows_are_sent_where_there_are_none():
    received, incoming = exchanged(np.empty(0, np.int64), [0], MPI.COMM_SELF)
    assert received.shape == (0,)
    assert incoming == [0]
