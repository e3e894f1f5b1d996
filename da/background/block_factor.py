"""Modes of blocks as a product of two factors, so that a product with them costs only what blocks have in common.

V = E L with E, (n, m), zero outside the blocks of each component, and L, (m, s), a root of the codes' covariance. Rows
that lie in the same blocks have their entries in the same columns of E, and are kept as one dense matrix:

    memory  8 Σ n_g k_g + 8 m s bytes, with n_g rows in the same blocks and k_g components of these
    V w     2 Σ n_g k_g + 2 m s FLOPs in place of 2 n s

With b blocks side by side Σ n_g k_g is about n m / b.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowGroup:
    """Rows that lie in the same blocks.

    rows : (n_g,) numbers of this rank's rows; columns : (k_g,) components of their blocks
    entries : (n_g, k_g) of E
    """

    rows: np.ndarray
    columns: np.ndarray
    entries: np.ndarray


@dataclass(frozen=True)
class BlockFactor:
    """V of this rank's rows as E L.

    groups : RowGroups; each row is in one at most, and zero in none
    root : (m, s) L, the same on every rank
    n_local : rows of this rank
    """

    groups: tuple[RowGroup, ...]
    root: np.ndarray
    n_local: int

    def product(self, control: np.ndarray) -> np.ndarray:
        """V w: (s,) → (n_local,)."""
        codes, result = self.root @ control, np.zeros(self.n_local)
        for of in self.groups:
            result[of.rows] = of.entries @ codes[of.columns]
        return result

    def transposed_product(self, values: np.ndarray) -> np.ndarray:
        """Vᵀ x of this rank's rows: (n_local,) → (s,)."""
        codes = np.zeros(len(self.root))
        for of in self.groups:
            codes[of.columns] += values[of.rows] @ of.entries
        return codes @ self.root

    def csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of E: (n_local,) their numbers of entries, and columns and values, row after row."""
        counts = np.zeros(self.n_local, np.int32)
        for of in self.groups:
            counts[of.rows] = len(of.columns)
        start = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        column, value = np.empty(start[-1], np.int32), np.empty(start[-1])
        for of in self.groups:
            places = start[of.rows][:, None] + np.arange(len(of.columns))
            column[places], value[places] = of.columns, of.entries
        return counts, column, value

    def vectors(self) -> np.ndarray:
        """(n_local, s) V."""
        result = np.zeros((self.n_local, self.root.shape[1]))
        for of in self.groups:
            result[of.rows] = of.entries @ self.root[of.columns]
        return result


def row_groups(weights: np.ndarray, block: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows that lie in the same blocks, and the components of these.

    Parameters
    ----------
    weights : (n_local, n_blocks), positive where a row lies in a block
    block : (m,) number of each component's block

    Returns
    -------
    list of (rows, columns), those without components left out
    """
    if len(weights) == 0:
        return []
    within = np.packbits(weights > 0.0, axis=1)
    patterns, number = np.unique(within, axis=0, return_inverse=True)
    of_blocks = np.unpackbits(patterns, axis=1, count=weights.shape[1]).astype(bool)
    order = np.argsort(number.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(number.ravel(), minlength=len(patterns)))
    made = []
    for start, end, inside in zip([0, *ends[:-1]], ends, of_blocks, strict=True):
        columns = np.flatnonzero(inside[block])
        if len(columns):
            made.append((order[start:end], columns))
    return made


def of_csr(counts: np.ndarray, column: np.ndarray, value: np.ndarray, root: np.ndarray) -> BlockFactor:
    """From the rows of E, as `BlockFactor.csr` gives them.

    Parameters
    ----------
    counts : (n_local,) entries of each row; column, value : of the entries, row after row
    root : (m, s) L

    Raises
    ------
    ValueError
        if they do not fit each other
    """
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if np.any(np.asarray(counts) < 0) or not start[-1] == len(column) == len(value):
        raise ValueError(f"rows of {start[-1]} entries, but {len(column)} columns and {len(value)} values")
    if len(column) and not (np.min(column) >= 0 and np.max(column) < len(root)):
        raise ValueError(f"column {np.max(column)}, expected 0 to {len(root) - 1}")
    alike: dict[bytes, list[int]] = {}
    column = np.ascontiguousarray(column, np.int32)
    for row in np.flatnonzero(counts).tolist():
        alike.setdefault(column[start[row] : start[row + 1]].tobytes(), []).append(row)
    groups = []
    for columns, rows in alike.items():
        of = np.frombuffer(columns, np.int32).astype(np.int64)
        numbers = np.array(rows)
        groups.append(RowGroup(numbers, of, np.asarray(value)[start[numbers][:, None] + np.arange(len(of))]))
    return BlockFactor(tuple(groups), root, len(counts))
