"""Background errors in an autoencoder's latent space, and the transform `decoded` made of them.

V_l = [f(x_1 − x̄) … f(x_S − x̄)] (Mack et al. 2020) is a square root of the background covariance among
the m latent numbers: small, float64, complete on every rank. An increment has two forms:

    as the paper   δx = g(V_l w). The network decodes the increment as if it were an anomaly from the mean
                   that it was trained on. Right where the background is that mean, as in the paper. Where g(0)
                   is not zero the background itself, w = 0, gets an increment
    centred        δx = g(z_b + V_l w) − g(z_b), z_b = f(x_b − x̄), with the latent mean subtracted from V_l. The
                   network decodes states like those of its training; w = 0 is the background. What it cannot
                   reproduce of the background stays as it is

Where the network is variational its prior is N(0, I), and V_l = I needs no states (`unit_modes`): the paper's form is
then J(z) = ½ ‖z‖² + ½ ‖d − H g(z)‖². Or V_l holds the deviations of the background's own code, as the encoder tells.

For a linear autoencoder they are the same. For the TSVD's factors, f = U_τᵀ and g = U_τ, they are `tsvd`.

The codes are divided by the root of S − 1, not the anomalies: the network encodes fields of their usual size, and V_l
is that of the modes where f is linear.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.background.decoder import Decoder
from da.background.modes import n_kept
from da.observation.operator import ObservationOperator

_SMALLEST = 1e-8  # of σ₁: directions of V_l below it are rounding, and no control of sensible size reaches them
_NO_PRODUCT = "a decoded transform is not linear, so H U is no matrix; use its tangent and adjoint"


@dataclass(frozen=True)
class LatentModes:
    """A square root of the background covariance of the latent numbers, the same on every rank.

    vectors : (m, s) float64 V_l
    mean : (m,) of the codes, subtracted from them if `centred`
    singular_values : (min(m, S),) of the whole V_l in falling order
    n_samples : S; zero where no states made them
    centred : whether they are for the centred form; the latent mean was subtracted then
    """

    vectors: np.ndarray
    mean: np.ndarray
    singular_values: np.ndarray
    n_samples: int
    centred: bool

    @property
    def n_latent(self) -> int:
        """m, latent numbers."""
        return self.vectors.shape[0]

    @property
    def n_modes(self) -> int:
        """s, length of a control."""
        return self.vectors.shape[1]


def latent_modes(
    encoded: np.ndarray,
    comm: MPI.Comm,
    truncation: float | None = None,
    *,
    unbiased: bool = True,
    centred: bool = False,
    inflation: float = 1.0,
) -> LatentModes:
    """V_l from the codes of the snapshots' anomalies. Collective.

    Parameters
    ----------
    encoded : (m, S) f(x_i − x̄), the same on every rank: `Decoder.encode` of the anomalies
    comm : MPI communicator
    truncation : None keeps a column for each snapshot, as in the paper; a whole number or a fraction of the variance
        keeps the leading U_τ Σ_τ of V_l's singular value decomposition
    unbiased : divide by √(S−1); False does not, as in Mack et al. 2020
    centred : subtract the latent mean, for the centred form
    inflation : factor of V_l

    Returns
    -------
    LatentModes

    Raises
    ------
    ValueError
        if there are fewer than two codes, one is not finite (it says which), all are zero, or the truncation asks for
        more than there is
    """
    encoded = np.asarray(encoded, dtype=np.float64)
    refuse_together(_problem(encoded), comm)
    n_samples = encoded.shape[1]
    mean = encoded.mean(axis=1)
    whole = encoded - mean[:, None] if centred else encoded
    whole = inflation / (np.sqrt(n_samples - 1) if unbiased else 1.0) * whole
    # by one rank, so that ties and signs are the same everywhere
    left, sigma = comm.bcast(np.linalg.svd(whole, full_matrices=False)[:2] if comm.rank == 0 else None)
    n_nonzero = int(np.sum(sigma > sigma[0] * max(whole.shape) * np.finfo(float).eps))
    if n_nonzero == 0:
        raise ValueError("all codes of the snapshots are the same, so there is no mode; is the network trained?")
    vectors = whole
    if truncation is not None:
        tau = n_kept(sigma[:n_nonzero], truncation)
        vectors = left[:, :tau] * sigma[:tau]
    return LatentModes(np.ascontiguousarray(vectors), mean, sigma, n_samples, centred)


def unit_modes(
    n_latent: int, *, deviations: np.ndarray | None = None, centred: bool = False, inflation: float = 1.0
) -> LatentModes:
    """V_l of codes whose errors are independent: a variational network's prior, or what it says of one code.

    Parameters
    ----------
    n_latent : m
    deviations : (m,) standard deviations, of N(f(x_b), diag σ²); None for ones, N(0, I)
    centred : for the centred form
    inflation : factor of V_l

    Returns
    -------
    LatentModes, m of them

    Raises
    ------
    ValueError
        if the deviations do not fit, or one is not positive and finite
    """
    sigma = np.ones(n_latent) if deviations is None else np.asarray(deviations, dtype=np.float64)
    if sigma.shape != (n_latent,) or not (np.isfinite(sigma) & (sigma > 0.0)).all():
        raise ValueError(f"deviations of shape {sigma.shape}, expected ({n_latent},) positive numbers")
    sigma = inflation * sigma
    return LatentModes(np.diag(sigma), np.zeros(n_latent), np.sort(sigma)[::-1], 0, centred)


def _problem(encoded: np.ndarray) -> str | None:
    if encoded.ndim != 2 or encoded.shape[1] < 2:
        return f"codes of shape {encoded.shape}, expected (latent numbers, two or more snapshots)"
    bad = np.flatnonzero(~np.isfinite(encoded).all(axis=0))
    if len(bad):
        return f"code of snapshot {bad[0]} holds a NaN or an infinity; leave the snapshot out, or look at the network"
    return None


@dataclass(frozen=True)
class DecodedTransform:
    """U of `decoded`, not linear; its modes determine which of the two forms it has. Made by `decoded_transform`.

    decoder : Decoder
    modes : LatentModes
    background : (n_local,) x_b − x̄ in the state's units; None for the paper's form
    base : (m,) z_b; None for the paper's form
    offset : (n_local,) scale · g(z_b); None for the paper's form
    """

    decoder: Decoder
    modes: LatentModes
    background: np.ndarray | None
    base: np.ndarray | None
    offset: np.ndarray | None

    linear = False

    @property
    def n_control(self) -> int:
        """s, length of a control."""
        return self.modes.n_modes

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """Scale, latent modes and, in the centred form, the background: this rank's arrays, without the network's."""
        given = self.decoder.scale, self.modes.vectors, self.background, self.base, self.offset
        return tuple(array for array in given if array is not None)

    def latent(self, control: np.ndarray) -> np.ndarray:
        """The point that is decoded: V_l w, or z_b + V_l w. (s,) → (m,)."""
        moved = self.modes.vectors @ control
        return moved if self.base is None else self.base + moved

    def apply(self, control: np.ndarray, keep: bool = True) -> np.ndarray:
        """δx of w: (s,) on every rank → (n_local,) in the state's units, by one decode. Collective.

        keep : keep the decode's activations for an adjoint or tangent at the same w
        """
        field = self.decoder.apply(self.latent(control), keep)
        return field if self.offset is None else field - self.offset

    def adjoint(self, increment: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """V_lᵀ g'ᵀ δx: (n_local,) → (s,), by one VJP at a control, None for zero. Collective."""
        return self.modes.vectors.T @ self.decoder.adjoint(increment, at=self._latent_at(at))

    def tangent(self, direction: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """g' V_l p: (s,) → (n_local,) in the state's units, by one JVP at a control, None for zero. Collective."""
        return self.decoder.tangent(self.modes.vectors @ direction, at=self._latent_at(at))

    def operator_product(self, operator: ObservationOperator) -> np.ndarray:
        """ValueError: U is not linear."""
        raise ValueError(_NO_PRODUCT)

    def operator_product_in_blocks(self, operator: ObservationOperator) -> Iterator[tuple[slice, np.ndarray]]:
        """ValueError: U is not linear."""
        raise ValueError(_NO_PRODUCT)

    def _latent_at(self, control: np.ndarray | None) -> np.ndarray:
        return self.latent(np.zeros(self.n_control) if control is None else control)

    def encode_increment(self, increment: np.ndarray) -> np.ndarray:
        """How an increment moves the latent point: (n_local,) → (m,). Not the inverse of `apply`. Collective."""
        if self.base is None or self.background is None:
            return self.decoder.encode(increment)
        return self.decoder.encode(self.background + increment) - self.base

    def control_of(self, increment: np.ndarray) -> np.ndarray:
        """The smallest w with V_l w nearest to the code of an increment: (n_local,) → (s,). Collective."""
        code, comm = self.encode_increment(increment), self.decoder.comm
        control = None
        if comm.rank == 0:
            control = np.linalg.lstsq(self.modes.vectors, code, rcond=_SMALLEST)[0]
        return comm.bcast(control)


def decoded_transform(
    decoder: Decoder, modes: LatentModes, background: np.ndarray | None = None, base: np.ndarray | None = None
) -> DecodedTransform:
    """U of `decoded` for one background. Collective.

    Parameters
    ----------
    decoder : Decoder
    modes : LatentModes of its codes; centred ones for the centred form
    background : (n_local,) x_b − x̄, the background less the mean of the training states, in the state's units;
        for the centred form only
    base : (m,) f of the background where it is known, which saves the encode

    Returns
    -------
    DecodedTransform; the centred form costs an encode and a decode here

    Raises
    ------
    ValueError
        if the modes are not the decoder's, or are centred and there is no background, or the other way round
    """
    if modes.n_latent != decoder.n_latent:
        raise ValueError(f"latent modes of {modes.n_latent} numbers, the network has {decoder.n_latent}")
    if modes.centred != (background is not None):
        given = "centred modes without a background" if modes.centred else "a background for modes that are not centred"
        raise ValueError(f"{given}: the centred form needs both, the paper's neither")
    if background is None:
        return DecodedTransform(decoder, modes, None, None, None)
    background = np.array(background, dtype=np.float64)
    base = decoder.encode(background) if base is None else base
    return DecodedTransform(decoder, modes, background, base, decoder.apply(base))
