"""Anomalies of snapshots, centred and scaled, one block of rows at a time; and what snapshots must be like."""

from collections.abc import Iterator

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.background.snapshots import row_blocks

PRECISIONS = ("float64", "float32")


def checked_snapshots(snapshots: np.ndarray, comm: MPI.Comm, precision: str) -> np.ndarray:
    """The snapshots as an array, not copied; what does not fit is an error on every rank."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} of the modes, expected one of {', '.join(PRECISIONS)}")
    snapshots = np.asarray(snapshots)
    shape = snapshots.shape
    refuse_together(
        None if len(shape) == 2 else f"snapshots of shape {shape}, expected (rows of this rank, snapshots)", comm
    )
    numbers = sorted(set(comm.allgather(shape[1])))
    if len(numbers) > 1:
        raise ValueError(f"{numbers} snapshots on the ranks, expected the same number on each, also where no row lies")
    if shape[1] < 2:
        raise ValueError(f"{shape[1]} snapshots, expected two or more to have a spread")
    return snapshots


def anomaly_blocks(
    snapshots: np.ndarray, scale: np.ndarray | None, unbiased: bool, mean: np.ndarray | None = None
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """V block by block: (rows, (m, S) float64 in Fortran order, (S,) which snapshots are finite).

    A block lives until the next one. `mean`, (n_local,), is filled where given.
    """
    n_samples = snapshots.shape[1]
    root = np.sqrt(n_samples - 1) if unbiased else 1.0
    slices = row_blocks(snapshots.shape)
    memory = np.empty((slices[0].stop if slices else 0) * n_samples)
    for rows in slices:
        m = rows.stop - rows.start
        block = memory[: m * n_samples].reshape(n_samples, m).T
        block[...] = snapshots[rows]
        centre, sound = _centre(block)
        factor = _factor(scale, rows, m)
        if mean is not None:
            mean[rows] = factor * centre
        block *= (factor / root)[:, None]
        yield rows, block, sound


def anomalies(snapshots: np.ndarray, rows: np.ndarray, scale: np.ndarray | None, unbiased: bool) -> np.ndarray:
    """(k, S) float64 rows of V, given by number; as `anomaly_blocks` has them."""
    block = np.asarray(snapshots[rows], dtype=np.float64)
    _centre(block)
    root = np.sqrt(snapshots.shape[1] - 1) if unbiased else 1.0
    block *= (_factor(scale, rows, len(block)) / root)[:, None]
    return block


def _factor(scale: np.ndarray | None, rows: slice | np.ndarray, m: int) -> np.ndarray:
    """(m,) by which rows are multiplied: one over their scale, zero where that is zero."""
    if scale is None:
        return np.ones(m)
    return np.divide(1.0, scale[rows], out=np.zeros(m), where=scale[rows] > 0.0)


def _centre(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subtract each row's mean; returns means, and which columns are finite. If one is not, the block becomes zero."""
    # the means show it, at no pass over the block of its own
    with np.errstate(invalid="ignore", over="ignore"):
        centre = block.mean(axis=1)
    sound = np.ones(block.shape[1], bool)
    if not np.isfinite(centre).all():
        sound = np.isfinite(block).all(axis=0)
        if not sound.all():
            block[...] = 0.0
            return np.zeros(len(block)), sound
    still = np.flatnonzero((block[:, 0] == block[:, -1]) & (block[:, 0] == block[:, block.shape[1] // 2]))
    still = still[np.ptp(block[still], axis=1) == 0.0]
    block -= centre[:, None]
    # x̄ is rounded: where all snapshots agree, the difference is rounding and not variance
    block[still] = 0.0
    return centre, sound


def refuse_bad(bad: np.ndarray, comm: MPI.Comm) -> None:
    comm.Allreduce(MPI.IN_PLACE, bad, MPI.LOR)
    if bad.any():
        listed = ", ".join(str(i) for i in np.flatnonzero(bad)[:10])
        raise ValueError(
            f"{bad.sum()} of {len(bad)} snapshots hold a NaN or an infinity: number {listed}"
            f"{' …' if bad.sum() > 10 else ''} (counted from 0); leave them out"
        )


def all_the_same(n_samples: int) -> str:
    return f"all {n_samples} snapshots are the same, so σ₁ = 0 and there is no mode; take them further apart in time"
