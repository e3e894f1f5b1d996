"""An autoencoder that is a matrix: what TSVD does, said in the networks' words."""

import torch

from models.zoo.autoencoder import Autoencoder


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

    def __init__(self, channels, shape, n_latent, factors=None, mask=None):
        super().__init__(channels, shape, (n_latent,), mask)
        n_rows = self.channels * self.mask.numel()
        factors = torch.zeros(n_rows, self.n_latent) if factors is None else torch.as_tensor(factors)
        # in rows, as a file keeps them: products then round alike before and after saving
        factors = factors.clone(memory_format=torch.contiguous_format)
        if tuple(factors.shape) != (n_rows, self.n_latent):
            raise ValueError(f"factors of shape {tuple(factors.shape)}, expected ({n_rows}, {self.n_latent})")
        factors *= self.mask.to(factors.dtype).flatten().repeat(self.channels)[:, None]
        self.register_buffer("factors", factors)
        self.mask = self.mask.to(factors.dtype)
        self.architecture = {
            "name": "Linear",
            "channels": self.channels,
            "shape": list(self.shape),
            "options": {"n_latent": self.n_latent},
        }

    def encode(self, fields):
        return self.without_solids(fields).flatten(1) @ self.factors

    def decode(self, latent):
        self.check_latent(latent)
        return (latent @ self.factors.T).reshape(-1, self.channels, *self.shape)
