"""Square root of the background covariance, B = V Vᵀ, from snapshots of the model.

`reduced` keeps a column for each snapshot (Parrish & Derber 1992); `tsvd` keeps the leading left
singular vectors times their singular values, V_τ = U_τ Σ_τ (Arcucci et al. 2019). The latter is
formed as V W_τ, W being V's right singular vectors: only these small ones are shared by the ranks.

V itself is never formed as a whole. A block of rows is copied from the snapshots, centred and scaled; one pass over all
blocks reduces them to a triangle, a second multiplies them by W_τ. So the snapshots may also lie in a file
(:func:`da.background.snapshots.collected`). On each rank `truncated_modes` takes, beside the snapshots:

    memory  8 n_local τ for the modes, or nothing with `overwrite`, plus 40 S² + 16 max(S², 2²⁰) bytes
    FLOPs   2 n_local S² (QR) + 2 n_local S τ (V W_τ), and on one rank some 20 S³ for the SVD of R
"""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from mpi4py import MPI

from da.background.anomalies import all_the_same, anomaly_blocks, checked_snapshots, refuse_bad
from da.background.block_factor import BlockFactor
from da.background.tsqr import Triangle, shared_svd, triangle_of_all

_SMALL = 0.25  # modes up to this part of the snapshots' size get memory of their own


@dataclass(frozen=True)
class Modes:
    """This rank's rows of a square root of B.

    vectors : (n_local, s) float64 or float32, without units if the snapshots were scaled, else in theirs
    singular_values : (S,) of the whole V in falling order; None where they were not needed
    mean : (n_local,) of the snapshots, in the vectors' units
    n_samples : S, number of snapshots
    name : "reduced", "tsvd" or "local"
    coefficients : (S, s) W, of each mode in each snapshot, so that V_τ Wᵀ are the anomalies; None where they are the
        modes themselves, or unknown
    factor : BlockFactor of the same modes, where blocks make products with them faster; None for none
    """

    vectors: np.ndarray
    singular_values: np.ndarray | None
    mean: np.ndarray
    n_samples: int
    name: str
    coefficients: np.ndarray | None = None
    factor: BlockFactor | None = None

    @property
    def n_modes(self) -> int:
        """s, number of columns."""
        return self.vectors.shape[1]


def reduced_modes(
    snapshots: np.ndarray,
    comm: MPI.Comm,
    unbiased: bool = True,
    *,
    scale: np.ndarray | None = None,
    precision: str = "float64",
    overwrite: bool = False,
) -> Modes:
    """V itself: one mode for each snapshot (Parrish & Derber 1992). Collective.

    Parameters
    ----------
    snapshots : (n_local, S) floats, this rank's rows; a rank may have none
    comm : MPI communicator
    unbiased : V = [x_i − x̄]/√(S−1); False does not divide by the root, as in Mack et al. 2020
    scale : (n_local,) what the anomalies are divided by, see `da.background.scaling`; where it is zero they become
        zero; None for ones
    precision : of the vectors that are kept: "float64", or "float32", which rounds each entry by 6e-8 of
        itself at most; everything before and every sum over them is made in float64
    overwrite : let the modes take the snapshots' place in memory, which must be writable float64

    Returns
    -------
    Modes, S columns in the order of the snapshots

    Raises
    ------
    ValueError
        if there are fewer than two snapshots, one holds a NaN (it says which), or all are the same
    """
    snapshots = checked_snapshots(snapshots, comm, precision)
    n_local, n_samples = snapshots.shape
    into = snapshots if overwrite and precision == "float64" else np.empty((n_local, n_samples), precision)
    mean, moved, bad = np.empty(n_local), False, np.zeros(n_samples, bool)
    for rows, block, sound in anomaly_blocks(snapshots, scale, unbiased, mean):
        bad |= ~sound
        moved |= bool(block.any())
        into[rows] = block
    refuse_bad(bad, comm)
    if not comm.allreduce(moved, MPI.LOR):
        raise ValueError(all_the_same(n_samples))
    return Modes(into, None, mean, n_samples, "reduced")


def truncated_modes(
    snapshots: np.ndarray,
    comm: MPI.Comm,
    truncation: float | None = None,
    unbiased: bool = True,
    *,
    scale: np.ndarray | None = None,
    precision: str = "float64",
    overwrite: bool = False,
) -> Modes:
    """V_τ = U_τ Σ_τ, the leading modes of V (Arcucci et al. 2019). Collective.

    Parameters
    ----------
    snapshots : (n_local, S) floats, this rank's rows; a rank may have none
    comm : MPI communicator
    truncation : a whole number is τ; a fraction in (0, 1] keeps the fewest modes that explain this
        part of the variance Σ σ²; None keeps σ_τ ≥ √σ₁, which depends on the snapshots' units
    unbiased, scale, precision : as in `reduced_modes`
    overwrite : as in `reduced_modes`; few modes are given memory of their own all the same, so that the
        snapshots' can be freed

    Returns
    -------
    Modes, τ columns in order of falling σ, the same for any number of ranks

    Raises
    ------
    ValueError
        as `reduced_modes`; if τ exceeds the number of non-zero σ, or the rule keeps no mode
    """
    snapshots = checked_snapshots(snapshots, comm, precision)
    n_local, n_samples = snapshots.shape
    mean, bad, triangle = np.empty(n_local), np.zeros(n_samples, bool), Triangle(n_samples)
    for _, block, sound in anomaly_blocks(snapshots, scale, unbiased, mean):
        bad |= ~sound
        triangle.add(block)
    refuse_bad(bad, comm)
    sigma, right = shared_svd(triangle_of_all(triangle, comm), n_samples, comm)
    if sigma[0] == 0.0:
        raise ValueError(all_the_same(n_samples))
    n_state = comm.allreduce(n_local)
    # np.linalg.matrix_rank draws the line between small and zero at the same place
    n_nonzero = int(np.sum(sigma > sigma[0] * max(n_state, n_samples) * np.finfo(float).eps))
    tau = n_kept(sigma[:n_nonzero], truncation)
    right = np.ascontiguousarray(right[:, :tau])
    in_place = overwrite and precision == "float64" and tau > _SMALL * n_samples
    vectors = snapshots[:, :tau] if in_place else np.empty((n_local, tau), precision)
    for rows, block, _ in anomaly_blocks(snapshots, scale, unbiased):
        vectors[rows] = block @ right
    return Modes(vectors, sigma, mean, n_samples, "tsvd", right)


def n_kept(sigma: np.ndarray, truncation: float | None = None) -> int:
    """τ: how many modes a truncation keeps.

    Parameters
    ----------
    sigma : (k,) the non-zero singular values in falling order
    truncation : as in `truncated_modes`

    Raises
    ------
    ValueError
        if the truncation asks for more modes than there are, keeps none, or is no number
    """
    if truncation is None:
        kept = int(np.sum(sigma >= np.sqrt(sigma[0])))
        if kept == 0:
            raise ValueError(
                f"truncation by σ ≥ √σ₁ keeps no mode, because σ₁ = {sigma[0]:.3g} is below 1; "
                "standardise the snapshots, or give τ or a fraction of the variance"
            )
        return kept
    if isinstance(truncation, Integral) and not isinstance(truncation, bool):
        if not 1 <= truncation <= len(sigma):
            raise ValueError(
                f"truncation τ = {truncation}, expected 1 to {len(sigma)}: "
                f"{len(sigma)} singular values of the snapshots are not zero; lower τ or add snapshots"
            )
        return int(truncation)
    if isinstance(truncation, Real) and 0.0 < truncation <= 1.0 and not isinstance(truncation, bool):
        explained = np.cumsum(sigma**2)
        # the last sum is the total itself, so that a fraction of one always keeps something
        return int(np.searchsorted(explained, truncation * explained[-1])) + 1
    raise ValueError(
        f"truncation {truncation!r}, expected a whole number of modes, a fraction of the variance in (0, 1], or None"
    )
