"""Square root of the background covariance, B = V Vᵀ, from snapshots of the model.

`reduced` keeps a column for each snapshot (Parrish & Derber 1992); `tsvd` keeps the leading left
singular vectors times their singular values, V_τ = U_τ Σ_τ (Arcucci et al. 2019). The latter is
formed as V W_τ, W being V's right singular vectors: only these small ones are shared by the ranks.
"""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from mpi4py import MPI

from da.collective import raise_together
from da.tsqr import right_singular


@dataclass(frozen=True)
class Modes:
    """This rank's rows of a square root of B.

    vectors : (n_local, s) float64, in units of the snapshots
    singular_values : (S,) of the whole V in falling order; None where they were not needed
    mean : (n_local,) of the snapshots, in their units
    n_samples : S, number of snapshots
    name : "reduced" or "tsvd"
    """

    vectors: np.ndarray
    singular_values: np.ndarray | None
    mean: np.ndarray
    n_samples: int
    name: str

    @property
    def n_modes(self):
        """s, number of columns."""
        return self.vectors.shape[1]


def reduced_modes(snapshots, comm, unbiased=True):
    """V itself: one mode for each snapshot (Parrish & Derber 1992). Collective.

    Parameters
    ----------
    snapshots : (n_local, S) floats, this rank's rows; any number of them, also none
    comm : MPI communicator
    unbiased : V = [x_i − x̄]/√(S−1); False leaves the root away, as Mack et al. 2020 do

    Returns
    -------
    Modes, S columns in the order of the snapshots

    Raises
    ------
    ValueError
        if there are fewer than two snapshots, one holds a NaN (it says which), or all are the same
    """
    anomalies, mean = _anomalies(snapshots, comm, unbiased)
    if not comm.allreduce(bool(np.any(anomalies)), MPI.LOR):
        raise ValueError(_all_the_same(anomalies.shape[1]))
    return Modes(anomalies, None, mean, anomalies.shape[1], "reduced")


def truncated_modes(snapshots, comm, truncation=None, unbiased=True):
    """V_τ = U_τ Σ_τ, the leading modes of V (Arcucci et al. 2019). Collective.

    Parameters
    ----------
    snapshots : (n_local, S) floats, this rank's rows; any number of them, also none
    comm : MPI communicator
    truncation : a whole number is τ; a fraction in (0, 1] keeps the fewest modes that explain this
        part of the variance Σ σ²; None keeps σ_τ ≥ √σ₁, which depends on the snapshots' units
    unbiased : V = [x_i − x̄]/√(S−1); False leaves the root away, as Mack et al. 2020 do

    Returns
    -------
    Modes, τ columns in order of falling σ, the same for any number of ranks

    Raises
    ------
    ValueError
        as `reduced_modes`; if τ exceeds the number of non-zero σ, or the rule keeps no mode
    """
    anomalies, mean = _anomalies(snapshots, comm, unbiased)
    sigma, right = right_singular(anomalies, comm)
    if sigma[0] == 0.0:
        raise ValueError(_all_the_same(len(sigma)))
    n_state = comm.allreduce(len(anomalies))
    # np.linalg.matrix_rank draws the line between small and zero at the same place
    n_nonzero = int(np.sum(sigma > sigma[0] * max(n_state, len(sigma)) * np.finfo(float).eps))
    tau = n_kept(sigma[:n_nonzero], truncation)
    return Modes(anomalies @ right[:, :tau], sigma, mean, len(sigma), "tsvd")


def n_kept(sigma, truncation=None):
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
        # the last sum is the total itself, so that a fraction of one is always found
        return int(np.searchsorted(explained, truncation * explained[-1])) + 1
    raise ValueError(
        f"truncation {truncation!r}, expected a whole number of modes, a fraction of the variance in (0, 1], or None"
    )


def _anomalies(snapshots, comm, unbiased):
    snapshots = np.asarray(snapshots, dtype=np.float64)
    _check(snapshots, comm)
    n_samples = snapshots.shape[1]
    mean = snapshots.mean(axis=1)
    anomalies = snapshots - mean[:, None]
    # x̄ is rounded: where all snapshots agree, what is left is rounding and no variance
    anomalies[np.ptp(snapshots, axis=1) == 0.0] = 0.0
    if unbiased:
        anomalies /= np.sqrt(n_samples - 1)
    return anomalies, mean


def _check(snapshots, comm):
    shape = snapshots.shape
    raise_together(
        None if len(shape) == 2 else f"snapshots of shape {shape}, expected (rows of this rank, snapshots)", comm
    )
    numbers = sorted(set(comm.allgather(shape[1])))
    if len(numbers) > 1:
        raise ValueError(f"{numbers} snapshots on the ranks, expected the same number on each, also where no row lies")
    if shape[1] < 2:
        raise ValueError(f"{shape[1]} snapshots, expected two or more to have a spread")
    bad = ~np.isfinite(snapshots).all(axis=0)
    comm.Allreduce(MPI.IN_PLACE, bad, MPI.LOR)
    if bad.any():
        listed = ", ".join(str(i) for i in np.flatnonzero(bad)[:10])
        raise ValueError(
            f"{bad.sum()} of {len(bad)} snapshots hold a NaN or an infinity: number {listed}"
            f"{' …' if bad.sum() > 10 else ''} (counted from 0); leave them out"
        )


def _all_the_same(n_samples):
    return f"all {n_samples} snapshots are the same, so σ₁ = 0 and there is no mode; take them further apart in time"
