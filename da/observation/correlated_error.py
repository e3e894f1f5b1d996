"""Covariance R of correlated errors: dense blocks, factorised by Cholesky.

Observations are few compared with the state, so each rank that has a row of a block holds and factorises all of it.
Only values of blocks that lie across ranks are communicated: a row without correlations and a block on one rank cost no
message, so a nearly diagonal R stays distributed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from mpi4py import MPI
from scipy.linalg import cho_factor, cho_solve, cholesky, eigh, eigvalsh, solve_triangular
from scipy.linalg.lapack import dpocon
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from coupling.common.collective import refuse_together
from da.observation.correlation import correlation_matrix
from da.observation.error import ErrorBlock, check_std

_ASYMMETRY = 1e-10  # of a given matrix, relative to its variances: more than rounding


@dataclass(frozen=True)
class BlockError:
    """R of dense blocks. All methods are collective.

    rows : slice of the observations on this rank
    std_local : (M_local,) standard deviations of this rank's rows; they describe a row without correlations completely
    blocks : those of two rows and more that have a row on this rank
    shared : (k,) global numbers, rising, of the rows whose blocks lie across ranks; the same on every rank
    comm : MPI communicator
    """

    rows: slice
    std_local: np.ndarray
    blocks: tuple[ErrorBlock, ...]
    shared: np.ndarray
    comm: MPI.Comm

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine R: this rank's arrays."""
        return (self.std_local, *(part for block in self.blocks for part in (block.rows, block.factor)))

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """L⁻¹ v with R = L Lᵀ: (M_local,) or (M_local, k) → the same shape, without units."""
        return self._solved(values, 1, [partial(solve_triangular, of.factor, lower=True) for of in self.blocks])

    def solve(self, values: np.ndarray) -> np.ndarray:
        """R⁻¹ v: (M_local,) or (M_local, k) → the same shape."""
        return self._solved(values, 2, [partial(cho_solve, (of.factor, True)) for of in self.blocks])

    def _solved(
        self, values: np.ndarray, power: int, within: Sequence[Callable[[np.ndarray], np.ndarray]]
    ) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        columns = values if values.ndim == 2 else values[:, None]
        return self.by_blocks(columns, lambda v: v / self.std_local[:, None] ** power, within).reshape(values.shape)

    def by_blocks(
        self,
        values: np.ndarray,
        alone: Callable[[np.ndarray], np.ndarray],
        within: Sequence[Callable[[np.ndarray], np.ndarray]],
    ) -> np.ndarray:
        """A function of the rows of each block, (M_local, k) → (M_local, k'). Collective.

        alone : what it is for rows that are alone in their blocks, (M_local, k) → (M_local, k')
        within : what it is for each of `blocks`, (m, k) → (m, k')
        """
        result = alone(values)
        for block, function, of in zip(self.blocks, within, self.of_blocks(values), strict=True):
            mine = self._mine(block)
            result[block.rows[mine] - self.rows.start] = function(of)[mine]
        return result

    def of_blocks(self, values: np.ndarray) -> Iterator[np.ndarray]:
        """Each block's rows of values, from all ranks: (M_local, k) → iterator of (m, k). Collective."""
        # gathered here and not for the first block: ranks without a block take part, too
        everyones = self._gathered(values)
        return (self._of_block(block, values, everyones) for block in self.blocks)

    def _of_block(self, block: ErrorBlock, values: np.ndarray, everyones: np.ndarray) -> np.ndarray:
        mine = self._mine(block)
        if mine.all():
            return values[block.rows - self.rows.start]
        return everyones[np.searchsorted(self.shared, block.rows)]

    def inflated(self, variance: np.ndarray) -> "BlockError":
        """R plus a diagonal of variances: (M_local,), in the observations' units squared. Collective."""
        blocks = []
        for block, added in zip(self.blocks, self.of_blocks(variance[:, None]), strict=True):
            matrix = block.factor @ block.factor.T
            matrix[np.diag_indices_from(matrix)] += added[:, 0]
            blocks.append(ErrorBlock(block.rows, cholesky(matrix, lower=True)))
        return replace(self, std_local=np.sqrt(self.std_local**2 + variance), blocks=tuple(blocks))

    def _mine(self, block: ErrorBlock) -> np.ndarray:
        return (block.rows >= self.rows.start) & (block.rows < self.rows.stop)

    def _gathered(self, columns: np.ndarray) -> np.ndarray:
        """(len(shared), k) values of the shared rows, from all ranks."""
        if len(self.shared) == 0:
            return np.empty((0, columns.shape[1]))
        first, end = np.searchsorted(self.shared, (self.rows.start, self.rows.stop))
        mine = np.ascontiguousarray(columns[self.shared[first:end] - self.rows.start])
        # ranks hold rising runs of rows, so their parts follow each other
        return np.concatenate(self.comm.allgather(mine))


def correlated_error(
    std: np.ndarray,
    position: np.ndarray,
    group: np.ndarray,
    length: float,
    rows: slice,
    comm: MPI.Comm,
    *,
    kind: str = "soar",
    nugget: float = 0.0,
) -> BlockError:
    """Errors correlated in space within groups: R_ij = σ_i σ_j ρ(|r_i − r_j| / length). Collective.

    Parameters
    ----------
    std : (M,) standard deviations, in the variables' units
    position : (M, 3) [m]
    group : (M,) labels; errors of different groups are not correlated: the variable, or variable and time
    length, kind, nugget : as in `da.observation.correlation.correlation_matrix`
    rows : slice of the rows this rank holds
    comm : MPI communicator; all arrays are the same on every rank

    Returns
    -------
    BlockError

    Raises
    ------
    ValueError
        on every rank, if a standard deviation is not positive, or a block is not positive definite (with its smallest
        eigenvalue), as where two observations of a group are at one place and there is no nugget
    """
    std, position = np.asarray(std, dtype=np.float64), np.asarray(position, dtype=np.float64).reshape(-1, 3)
    check_std(std)
    _, label = np.unique(np.asarray(group), return_inverse=True)
    members = _groups(label)

    def covariance(of: np.ndarray) -> np.ndarray:
        return correlation_matrix(position[of], length, kind, nugget) * np.outer(std[of], std[of])

    return _block_error(std, members, covariance, rows, comm)


def given_error(matrix: np.ndarray, rows: slice, comm: MPI.Comm) -> BlockError:
    """R as a given matrix, cut into the blocks that its zeros leave. Collective.

    Parameters
    ----------
    matrix : (M, M) covariance in the order of the observations, in products of their units; the same on every rank
    rows : slice of the rows this rank holds
    comm : MPI communicator

    Returns
    -------
    BlockError

    Raises
    ------
    ValueError
        on every rank, if the matrix is not square, finite, symmetric and positive definite; in the last case with its
        smallest eigenvalue
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    refuse_together(_problem(matrix, rows, comm), comm)
    _, label = connected_components(csr_matrix(matrix), directed=False)
    symmetric = 0.5 * (matrix + matrix.T)
    variance = np.diag(symmetric)
    # a variance that is not positive has no root; its block is refused below, with its eigenvalue
    std = np.sqrt(np.where(variance > 0.0, variance, 1.0))
    refused = [of for of in _groups(label) if len(of) > 1 or variance[of[0]] <= 0.0]
    return _block_error(std, refused, lambda of: symmetric[np.ix_(of, of)], rows, comm)


def _problem(matrix: np.ndarray, rows: slice, comm: MPI.Comm) -> str | None:
    m = comm.allreduce(rows.stop - rows.start)
    if matrix.shape != (m, m):
        return f"observation error matrix of shape {matrix.shape}, expected ({m}, {m}): a row for each observation"
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        i, j = bad[0]
        return f"observation error matrix: entry ({i}, {j}) is {matrix[i, j]}, expected a number"
    difference = np.abs(matrix - matrix.T)
    if m and difference.max() > _ASYMMETRY * np.abs(np.diag(matrix)).max():
        i, j = np.unravel_index(np.argmax(difference), matrix.shape)
        return (
            f"observation error matrix is not symmetric: entries ({i}, {j}) and ({j}, {i}) are {matrix[i, j]:g} and "
            f"{matrix[j, i]:g}; give (R + Rᵀ)/2 if that is what is meant"
        )
    return None


def _groups(label: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each label, rising."""
    order = np.argsort(label, kind="stable")
    cuts = np.flatnonzero(np.diff(label[order])) + 1
    return np.split(order, cuts) if len(order) else []


def _block_error(
    std: np.ndarray,
    members: list[np.ndarray],
    covariance: Callable[[np.ndarray], np.ndarray],
    rows: slice,
    comm: MPI.Comm,
) -> BlockError:
    """Factorise the blocks that touch this rank's rows; members of one row only are left to `std`."""
    ends = np.array(comm.allgather(rows.stop))
    blocks, shared, problem = [], [np.empty(0, np.int64)], None
    for of in members:
        first, last = np.searchsorted(ends, (of[0], of[-1]), side="right")
        if first != last:
            shared.append(of)
        if first <= comm.rank <= last and problem is None:
            matrix = covariance(of)
            factor, problem = _factor(matrix, of)
            if len(of) > 1 and factor is not None:
                blocks.append(ErrorBlock(of, factor))
    refuse_together(problem, comm)
    return BlockError(rows, std[rows], tuple(blocks), np.sort(np.concatenate(shared)), comm)


def _factor(matrix: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray | None, str | None]:
    """(lower Cholesky factor, None), or (None, why there is none)."""
    variance = np.diag(matrix)
    spread = np.sqrt(np.where(variance > 0.0, variance, 1.0))
    correlation = matrix / np.outer(spread, spread)
    try:
        factor = np.tril(cho_factor(correlation, lower=True)[0])
        # a factor may exist by rounding alone; the condition is that of the correlations, whatever the units
        reciprocal, _ = dpocon(factor, np.abs(correlation).sum(axis=0).max(), uplo="L")
        if reciprocal > len(matrix) * np.finfo(float).eps:
            return spread[:, None] * factor, None
    except np.linalg.LinAlgError:
        pass
    return None, _not_definite(matrix, correlation, rows)


def _not_definite(matrix: np.ndarray, correlation: np.ndarray, rows: np.ndarray) -> str:
    eigenvalues = eigvalsh(matrix)
    weakest, vectors = eigh(correlation, subset_by_index=[0, 0])
    heavy = rows[np.sort(np.argsort(-np.abs(vectors[:, 0]), kind="stable")[:2])]
    named = " and ".join(str(i) for i in heavy)
    return (
        f"observation error covariance is not positive definite: in the block of {len(rows)} rows from row {rows[0]} "
        f"the smallest eigenvalue is {eigenvalues[0]:.3g}, the largest {eigenvalues[-1]:.3g} (of its correlations the "
        f"smallest is {weakest[0]:.3g}); rows {named} weigh most in it. Leave out or average readings that repeat "
        "each other, shorten the correlation length, or add to the variances (a nugget)"
    )
