"""What the transforms through a network ask of it, whoever runs it; `models.decoder` does over the ranks."""

from typing import Protocol

import numpy as np
from mpi4py import MPI


class Decoder(Protocol):
    """g and f of an autoencoder: between a latent vector, whole on every rank, and a distributed state.

    All methods are collective.

    scale : (n_local,) float64 factor of each value, in the state's units; zero where a value takes no part
    comm : MPI communicator the rows lie over
    n_latent : m
    dtype : of the network, whose rounding costs and gradients have
    """

    @property
    def scale(self) -> np.ndarray: ...

    @property
    def comm(self) -> MPI.Comm: ...

    @property
    def n_latent(self) -> int: ...

    @property
    def dtype(self) -> np.dtype: ...

    def apply(self, latent: np.ndarray, keep: bool = False) -> np.ndarray:
        """scale · g(z): (m,) → (n_local,) in the state's units; `keep` what derivatives at the same z need."""

    def adjoint(self, increment: np.ndarray, at: np.ndarray) -> np.ndarray:
        """g'(z)ᵀ (scale · δx): (n_local,) → (m,) on every rank; `at` is z."""

    def tangent(self, direction: np.ndarray, at: np.ndarray) -> np.ndarray:
        """scale · g'(z) p: (m,) → (n_local,) in the state's units; `at` is z."""

    def encode(self, states: np.ndarray) -> np.ndarray:
        """f(x / scale): (n_local,) or (n_local, k) in the state's units → (m,) or (m, k) on every rank."""

    def release(self) -> None:
        """Let go of what `keep` kept."""
