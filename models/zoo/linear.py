"""An autoencoder that is a matrix: what TSVD does, said in the networks' words.

Baldi & Hornik 1989, Neural networks and principal component analysis: Learning from examples without local minima,
    https://doi.org/10.1016/0893-6080(89)90014-2
"""

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike

from models.zoo.autoencoder import Autoencoder, Mask


class Linear(Autoencoder):
    """encode = Wᵀ x, decode = W z, with factors W set by hand.

    With orthonormal columns (the leading left singular vectors of the snapshots: PCA, Hotelling 1933; Baldi &
    Hornik 1989) decode∘encode is the projection that truncated SVD makes, and compression loses nothing of
    fields in their span. Rows at solid points are set to zero.

    Parameters
    ----------
    channels, shape, mask : as for `Autoencoder`
    n_latent : columns of W
    factors : (channels·nx·ny·nz, n_latent), rows in the order of fields.flatten(1), that is variable by variable;
        None for zeros, to be filled by `load_state_dict`
    """

    factors: torch.Tensor

    def __init__(
        self,
        channels: int,
        shape: Sequence[int],
        n_latent: int,
        factors: ArrayLike | torch.Tensor | None = None,
        mask: Mask = None,
    ) -> None:
        super().__init__(channels, shape, (n_latent,), mask)
        n_rows = self.channels * self.mask.numel()
        given = torch.zeros(n_rows, self.n_latent) if factors is None else torch.as_tensor(factors)
        # in rows, as a file keeps them: products then round alike before and after saving
        given = given.clone(memory_format=torch.contiguous_format)
        if tuple(given.shape) != (n_rows, self.n_latent):
            raise ValueError(f"factors of shape {tuple(given.shape)}, expected ({n_rows}, {self.n_latent})")
        given *= self.mask.to(given.dtype).flatten().repeat(self.channels)[:, None]
        self.register_buffer("factors", given)
        self.mask = self.mask.to(given.dtype)
        self.architecture = {
            "name": "Linear",
            "channels": self.channels,
            "shape": list(self.shape),
            "options": {"n_latent": self.n_latent},
        }

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        return self.without_solids(fields).flatten(1) @ self.factors

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        self.check_latent(latent)
        return (latent @ self.factors.T).reshape(-1, self.channels, *self.shape)
