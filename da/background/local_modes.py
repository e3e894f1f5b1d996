"""Background errors from the modes of neighbourhoods: `local`.

S states span S − 1 patterns of the whole domain, but each neighbourhood has seen far more. Each block of points gets
principal components of its own, E_b of all variables together, and of all blocks' components those of the largest
variance are kept. With the weights W_b of a partition of unity, codes z_b = E_bᵀ x_b stand for the increment

    δx = Σ_b W_b E_b z_b = S z

and B = S C Sᵀ with C the sample covariance of the codes, which falls with the distance of their blocks (Gaspari & Cohn
1999) if lengths are given. With L Lᵀ = C the modes are S L: as many as there are codes, or fewer where C is singular.

A block's rows meet on one rank; each rank has some blocks. What all ranks hold is S (S × m), C and L (m × m). On each:

    memory  8 n_b S bytes of one block at a time, 8 S m + 24 m² bytes for the codes, 8 n_local m for the modes, and
            their factors (:mod:`da.background.block_factor`)
    FLOPs   2 n_b S² + 10 S³ for each block, 2 n_local (S + m) k for the modes, k the components that a row has
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from coupling.common.rows import exchanged
from da.background.anomalies import all_the_same, anomalies, anomaly_blocks, checked_snapshots, refuse_bad
from da.background.block_factor import BlockFactor, RowGroup, row_groups
from da.background.blocks import Blocks
from da.background.modes import Modes, n_kept
from da.background.snapshots import row_blocks
from da.background.spectrum import ROUNDING, positive_eigenpairs
from da.observation.correlation import gaspari_cohn


@dataclass(frozen=True)
class CodeLengths:
    """How covariances of codes fall with the distance of their blocks.

    horizontal, vertical : lengths of Gaspari & Cohn's function [m]; np.inf for none
    """

    horizontal: float = np.inf
    vertical: float = np.inf

    def taper(self, centres: np.ndarray) -> np.ndarray:
        """(n_blocks, n_blocks) factors, of (n_blocks, 3) centres."""
        apart = centres[:, None] - centres[None]
        squared = (np.hypot(apart[..., 0], apart[..., 1]) / self.horizontal) ** 2
        return gaspari_cohn(np.sqrt(squared + (apart[..., 2] / self.vertical) ** 2))


@dataclass(frozen=True)
class _Components:
    """Of all blocks, on every rank: the components that are kept.

    block : (m,) number of each one's block, rising
    root : (m, S) codes of the snapshots, σ wᵀ
    right : (S, m) w / σ, so that a block's anomalies times it are E_b
    """

    block: np.ndarray
    root: np.ndarray
    right: np.ndarray


def local_modes(
    snapshots: np.ndarray,
    position: np.ndarray,
    blocks: Blocks,
    comm: MPI.Comm,
    truncation: float,
    lengths: CodeLengths | None = None,
    unbiased: bool = True,
    *,
    scale: np.ndarray | None = None,
    precision: str = "float64",
) -> Modes:
    """Modes of blocks. Collective.

    Parameters
    ----------
    snapshots : (n_local, S) floats, this rank's rows
    position : (n_local, 3) places of the rows [m]
    blocks : Blocks
    comm : MPI communicator
    truncation : number of codes over all blocks, or the part of the blocks' variance that they explain, below 1
    lengths : CodeLengths; None leaves covariances of codes as the sample has them
    unbiased, scale, precision : as in `da.background.modes.truncated_modes`

    Returns
    -------
    Modes

    Raises
    ------
    ValueError
        on every rank, as `truncated_modes`; if the positions do not fit the rows
    """
    snapshots = checked_snapshots(snapshots, comm, precision)
    n_local, n_samples = snapshots.shape
    problem = None
    if np.shape(position) != (n_local, 3):
        problem = f"positions of shape {np.shape(position)}, expected ({n_local}, 3) like the snapshots' rows"
    refuse_together(problem, comm)
    mean, bad = np.empty(n_local), np.zeros(n_samples, bool)
    for _, _, sound in anomaly_blocks(snapshots, scale, unbiased, mean):
        bad |= ~sound
    refuse_bad(bad, comm)
    components = _components(snapshots, position, blocks, comm, truncation, scale, unbiased)
    covariance = components.root @ components.root.T
    if lengths is not None:
        covariance *= lengths.taper(blocks.centres)[np.ix_(components.block, components.block)]
    code_root = comm.bcast(_root(covariance) if comm.rank == 0 else None)
    vectors, groups = np.zeros((n_local, code_root.shape[1]), precision), []
    weights = blocks.weights(position)
    for rows, columns in row_groups(weights, components.block):
        entries = np.empty((len(rows), len(columns)))
        right, root = components.right[:, columns], code_root[columns]
        for part in row_blocks((len(rows), n_samples)):
            own = rows[part]
            share = weights[own][:, components.block[columns]]
            entries[part] = share * (anomalies(snapshots, own, scale, unbiased) @ right)
            vectors[own] = entries[part] @ root
        groups.append(RowGroup(rows, columns, entries))
    # vectors in float32 are rounded, and products with them are to be those of the rounded ones
    factor = BlockFactor(tuple(groups), code_root, n_local) if precision == "float64" else None
    return Modes(vectors, None, mean, n_samples, "local", factor=factor)


def _components(
    snapshots: np.ndarray,
    position: np.ndarray,
    blocks: Blocks,
    comm: MPI.Comm,
    truncation: float,
    scale: np.ndarray | None,
    unbiased: bool,
) -> _Components:
    """The components of all blocks that explain most. Collective."""
    n_samples, takes_part = snapshots.shape[1], np.ones(len(snapshots), bool) if scale is None else scale > 0.0
    weights = blocks.weights(position) > 0.0
    own: list[tuple[int, np.ndarray, np.ndarray]] = []
    for first in range(0, blocks.n_blocks, comm.size):  # one block for each rank at a time
        numbers = range(first, min(first + comm.size, blocks.n_blocks))
        sent = [np.flatnonzero(weights[:, number] & takes_part) for number in numbers]
        parts = [anomalies(snapshots, rows, scale, unbiased) for rows in sent]
        counts = [len(part) for part in parts] + [0] * (comm.size - len(parts))
        received, _ = exchanged(np.concatenate(parts), counts, comm)
        if first + comm.rank < blocks.n_blocks:
            own.append((first + comm.rank, *_principal(received)))
    everyone = sorted(
        (of for ranks in comm.allgather([(number, values) for number, values, _ in own]) for of in ranks),
        key=lambda of: of[0],
    )
    eigenvalues = np.concatenate([values for _, values in everyone])
    if not len(eigenvalues) or eigenvalues.max() <= 0.0:
        raise ValueError(all_the_same(n_samples))
    order = np.argsort(-eigenvalues, kind="stable")
    n_nonzero = int(np.sum(eigenvalues > ROUNDING * eigenvalues.max()))
    kept = n_kept(np.sqrt(eigenvalues[order[:n_nonzero]]), truncation)
    chosen = np.zeros(len(eigenvalues), bool)
    chosen[order[:kept]] = True
    start = np.cumsum([0, *(len(values) for _, values in everyone)])
    counts = [int(chosen[a:b].sum()) for a, b in zip(start[:-1], start[1:], strict=True)]
    # of each block the leading ones, as its eigenvalues fall
    mine = [(number, values[: counts[number]], right[:, : counts[number]]) for number, values, right in own]
    gathered = sorted((of for ranks in comm.allgather(mine) for of in ranks), key=lambda of: of[0])
    sigma = np.sqrt(np.concatenate([values for _, values, _ in gathered]))
    right = np.hstack([vectors for _, _, vectors in gathered])
    return _Components(np.repeat(np.arange(len(counts)), counts), sigma[:, None] * right.T, right / sigma)


def _principal(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k,) σ² in falling order and (S, k) right singular vectors of a block's (n_b, S) anomalies."""
    if not block.any():
        return np.empty(0), np.empty((block.shape[1], 0))
    if len(block) < block.shape[1]:
        values, left = positive_eigenpairs(block @ block.T)
        return values, block.T @ left / np.sqrt(values)
    return positive_eigenpairs(block.T @ block)


def _root(covariance: np.ndarray) -> np.ndarray:
    """L of C = L Lᵀ without directions of no variance, those of large variance first: (m, k)."""
    values, vectors = positive_eigenpairs(covariance)
    return vectors * np.sqrt(values)
