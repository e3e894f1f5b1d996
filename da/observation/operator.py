"""The observation operator H as a sparse matrix over the ranks.

Rows are observations, columns are values of the state; both lie in contiguous runs, the columns
like the state. How H comes about (interpolation to sensors, a choice of grid points) is not known here.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse import csr_matrix

_INT = PETSc.IntType
_BLOCK = 1 << 20  # values of H V in a block: 8 MiB stay in the processor's last cache


@dataclass(frozen=True)
class ObservationOperator:
    """H: state → observations.

    matrix : PETSc AIJ (M × n)
    """

    matrix: PETSc.Mat

    linear = True

    @property
    def n_observations(self):
        """M, over all ranks."""
        return self.matrix.getSize()[0]

    @property
    def n_state(self):
        """n, values of the state, over all ranks."""
        return self.matrix.getSize()[1]

    @property
    def rows(self):
        """Slice of the observations that lie on this rank."""
        return slice(*self.matrix.getOwnershipRange())

    @property
    def content(self):
        """The numbers that determine H: this rank's arrays."""
        return (*self.matrix.getValuesCSR(), np.array(self.matrix.getOwnershipRange()))

    def observe(self, state):
        """H x: (n_local,) → (M_local,), in the variables' units. Collective."""
        return self._multiplied(self.matrix.mult, state, self.matrix.getLocalSize()[0])

    def adjoint(self, values, at=None):
        """Hᵀ y: (M_local,) → (n_local,). Collective.

        at : (n_local,) state where H' is taken; a linear H has no use for it
        """
        return self._multiplied(self.matrix.multTranspose, values, self.matrix.getLocalSize()[1])

    def _multiplied(self, multiply, values, size):
        """A product of the matrix, in numpy's memory: copies of vectors as long as the state are passes, too."""
        comm, result = self.matrix.getComm(), np.empty(size)
        given = PETSc.Vec().createWithArray(np.ascontiguousarray(values, dtype=np.float64), comm=comm)
        into = PETSc.Vec().createWithArray(result, comm=comm)
        multiply(given, into)
        given.destroy()
        into.destroy()
        return result

    def observe_modes(self, vectors, scale=None):
        """H V for many vectors at once. Collective.

        H touches few values of the state, so their rows of V are fetched and no others:
        the work is that of the observations, whatever the size of the grid.

        Parameters
        ----------
        vectors : (n_local, s) float64 or float32
        scale : (n_local,) factor of each row; None for ones

        Returns
        -------
        (M_local, s) float64
        """
        return self._observed(vectors, scale, self.matrix.getValuesCSR())

    def observe_modes_in_blocks(self, vectors, scale=None):
        """H V by blocks of H's rows, for where all of it would be as large as V. Collective.

        Parameters
        ----------
        vectors, scale : as in `observe_modes`

        Yields
        ------
        slice of this rank's rows, none of them where other ranks have more, and their (k, s) float64
        """
        start, column, weight = self.matrix.getValuesCSR()
        m_local = len(start) - 1
        step = max(1, _BLOCK // max(1, vectors.shape[1]))
        longest = max(self.matrix.getComm().tompi4py().allgather(m_local))
        for first in range(0, longest, step):
            rows = slice(min(first, m_local), min(first + step, m_local))
            begin = start[rows.start : rows.stop + 1]
            of = slice(begin[0], begin[-1])
            yield rows, self._observed(vectors, scale, (begin - begin[0], column[of], weight[of]))

    def _observed(self, vectors, scale, rows):
        start, column, weight = rows
        touched, position = np.unique(column, return_inverse=True)
        fetched = _fetched_rows(vectors, scale, touched, self.matrix)
        return csr_matrix((weight, position, start), (len(start) - 1, len(touched))) @ fetched


def _fetched_rows(vectors, scale, wanted, matrix):
    """(len(wanted), s) rows by global number, which rises, from the ranks that hold them. Collective."""
    comm = matrix.getComm().tompi4py()
    begins = matrix.getOwnershipRangesColumn()
    n_wanted = np.diff(np.searchsorted(wanted, begins))
    n_given = np.array(comm.alltoall(n_wanted.tolist()))
    given = np.empty(n_given.sum(), dtype=np.int64)
    asking, giving = (n_wanted, _starts(n_wanted)), (n_given, _starts(n_given))
    comm.Alltoallv([wanted.astype(np.int64), asking, MPI.INT64_T], [given, giving, MPI.INT64_T])
    mine = given - begins[comm.rank]
    sent = np.ascontiguousarray(vectors[mine] if scale is None else scale[mine, None] * vectors[mine], np.float64)
    received = np.empty((len(wanted), vectors.shape[1]))
    # a type of one row keeps the counts small enough for MPI's int where rows × modes are not
    row_type = MPI.DOUBLE.Create_contiguous(vectors.shape[1]).Commit()
    comm.Alltoallv([sent, giving, row_type], [received, asking, row_type])
    row_type.Free()
    return received


def _starts(counts):
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def selection(index, n_local, comm):
    """H that takes single values of the state. Collective.

    Parameters
    ----------
    index : (M,) global numbers of the values, the same on every rank
    n_local : values of the state on this rank
    comm : MPI communicator

    Raises
    ------
    ValueError
        if a number is not one of the state's
    """
    index, n = np.asarray(index, dtype=_INT), comm.allreduce(n_local)
    outside = index[(index < 0) | (index >= n)]
    if len(outside):
        raise ValueError(f"value {outside[0]} of the state is to be observed, which has values 0 to {n - 1}")
    first, end = len(index) * comm.rank // comm.size, len(index) * (comm.rank + 1) // comm.size
    m_local = end - first
    matrix = PETSc.Mat().createAIJ(
        size=((m_local, None), (n_local, None)),
        csr=(np.arange(m_local + 1, dtype=_INT), index[first:end], np.ones(m_local)),
        comm=comm,
    )
    matrix.assemble()
    return ObservationOperator(matrix)
