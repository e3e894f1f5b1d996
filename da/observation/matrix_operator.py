"""The observation operator H as a sparse matrix over the ranks.

Rows are observations, columns are values of the state; both are in contiguous runs, the columns distributed like the
state. What the matrix does (interpolation to sensors, selection of grid points) is not known here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse import csr_matrix

from coupling.common.rows import exchanged

RowsOf = Callable[[np.ndarray], np.ndarray]
_INT = PETSc.IntType
_BLOCK = 1 << 20  # values of H V in a block: 8 MiB stay in the processor's last cache


@dataclass(frozen=True)
class MatrixOperator:
    """A linear H: state → observations.

    matrix : PETSc AIJ (M × n)
    """

    matrix: PETSc.Mat

    linear = True

    @property
    def n_observations(self) -> int:
        """M, over all ranks."""
        return self.matrix.getSize()[0]

    @property
    def n_state(self) -> int:
        """n, values of the state, over all ranks."""
        return self.matrix.getSize()[1]

    @property
    def rows(self) -> slice:
        """Slice of the observations that lie on this rank."""
        return slice(*self.matrix.getOwnershipRange())

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine H: this rank's arrays."""
        return (*self.matrix.getValuesCSR(), np.array(self.matrix.getOwnershipRange()))

    def observe(self, increment: np.ndarray) -> np.ndarray:
        """H δx: (n_local,) → (M_local,), in the variables' units. Collective."""
        return self._multiplied(self.matrix.mult, increment, self.matrix.getLocalSize()[0])

    def adjoint(self, values: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """Hᵀ y: (M_local,) → (n_local,); `at` is ignored. Collective."""
        return self._multiplied(self.matrix.multTranspose, values, self.matrix.getLocalSize()[1])

    def linearised(self, increment: np.ndarray) -> "MatrixOperator":
        """H itself, which is linear."""
        return self

    def _multiplied(
        self, multiply: Callable[[PETSc.Vec, PETSc.Vec], None], values: np.ndarray, size: int
    ) -> np.ndarray:
        """A product of the matrix, in numpy's memory: copying vectors as long as the state costs further passes."""
        comm, result = self.matrix.getComm(), np.empty(size)
        right = PETSc.Vec().createWithArray(np.ascontiguousarray(values, dtype=np.float64), comm=comm)
        into = PETSc.Vec().createWithArray(result, comm=comm)
        multiply(right, into)
        right.destroy()
        into.destroy()
        return result

    def observe_modes(self, vectors: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
        """H V for many vectors at once. Collective.

        H uses few values of the state, so only their rows of V are fetched: the work grows with the observations, not
        with the grid.

        Parameters
        ----------
        vectors : (n_local, s) float64 or float32
        scale : (n_local,) factor of each row; None for ones

        Returns
        -------
        (M_local, s) float64
        """
        return self.observe_rows(_rows_of(vectors, scale), vectors.shape[1])

    def observe_modes_in_blocks(
        self, vectors: np.ndarray, scale: np.ndarray | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """H V by blocks of H's rows, where all of it would be as large as V. Collective.

        Parameters
        ----------
        vectors, scale : as in `observe_modes`

        Yields
        ------
        slice of this rank's rows, empty where other ranks have more blocks, and their (k, s) float64
        """
        yield from self.observe_rows_in_blocks(_rows_of(vectors, scale), vectors.shape[1])

    def observe_rows(self, rows_of: RowsOf, n_columns: int) -> np.ndarray:
        """`observe_modes` of vectors that need not exist as a whole. Collective.

        rows_of : function of this rank's numbers, (k,) → their rows, (k, n_columns) float64
        """
        return self._observed(rows_of, n_columns, self.matrix.getValuesCSR())

    def observe_rows_in_blocks(self, rows_of: RowsOf, n_columns: int) -> Iterator[tuple[slice, np.ndarray]]:
        """`observe_modes_in_blocks` of vectors that need not exist as a whole; `rows_of` as in `observe_rows`."""
        start, column, weight = self.matrix.getValuesCSR()
        m_local = len(start) - 1
        step = max(1, _BLOCK // max(1, n_columns))
        longest = max(self.matrix.getComm().tompi4py().allgather(m_local))
        for first in range(0, longest, step):
            rows = slice(min(first, m_local), min(first + step, m_local))
            begin = start[rows.start : rows.stop + 1]
            entries = slice(begin[0], begin[-1])
            yield rows, self._observed(rows_of, n_columns, (begin - begin[0], column[entries], weight[entries]))

    def _observed(self, rows_of: RowsOf, n_columns: int, rows: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        start, column, weight = rows
        touched, position = np.unique(column, return_inverse=True)
        fetched = _fetched_rows(rows_of, n_columns, touched, self.matrix)
        return csr_matrix((weight, position, start), (len(start) - 1, len(touched))) @ fetched


def _rows_of(vectors: np.ndarray, scale: np.ndarray | None) -> RowsOf:
    def rows(numbers: np.ndarray) -> np.ndarray:
        chosen = vectors[numbers] if scale is None else scale[numbers, None] * vectors[numbers]
        return np.asarray(chosen, np.float64)

    return rows


def _fetched_rows(rows_of: RowsOf, n_columns: int, wanted: np.ndarray, matrix: PETSc.Mat) -> np.ndarray:
    """(len(wanted), s) rows by global number, which rises, from the ranks that hold them. Collective."""
    comm = matrix.getComm().tompi4py()
    begins = matrix.getOwnershipRangesColumn()
    n_wanted = np.diff(np.searchsorted(wanted, begins)).tolist()
    requested, n_requested = exchanged(wanted.astype(np.int64), n_wanted, comm)
    sent = rows_of(requested - begins[comm.rank]).reshape(-1, n_columns)
    return exchanged(sent, n_requested, comm)[0]


def selection(index: np.ndarray, n_local: int, comm: MPI.Comm) -> MatrixOperator:
    """H that selects single values of the state. Collective.

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
        raise ValueError(f"value {outside[0]} of the state is to be observed, but the state has values 0 to {n - 1}")
    first, end = len(index) * comm.rank // comm.size, len(index) * (comm.rank + 1) // comm.size
    ones = np.ones(end - first)
    return of_rows(ones, index[first:end], ones, n_local, comm)


def of_rows(counts: np.ndarray, column: np.ndarray, weight: np.ndarray, n_local: int, comm: MPI.Comm) -> MatrixOperator:
    """H from its rows on this rank. Collective.

    Parameters
    ----------
    counts : (M_local,) entries of each row
    column, weight : of the entries, row after row; columns by global number
    n_local : values of the state on this rank
    comm : MPI communicator
    """
    start = np.concatenate([[0], np.cumsum(counts)])
    csr = start.astype(_INT), np.asarray(column).astype(_INT), np.asarray(weight, np.float64)
    matrix = PETSc.Mat().createAIJ(size=((len(counts), None), (n_local, None)), csr=csr, comm=comm)
    matrix.assemble()
    return MatrixOperator(matrix)


def stacked(operators: Sequence[MatrixOperator], comm: MPI.Comm) -> MatrixOperator:
    """The observations of several H of one state; each rank's rows of the first come before those of the next."""
    parts = [of.matrix.getValuesCSR() for of in operators]
    counts, column, weight = (
        np.concatenate(part) for part in zip(*((np.diff(start), *rest) for start, *rest in parts), strict=True)
    )
    return of_rows(counts, column, weight, operators[0].matrix.getLocalSize()[1], comm)
