"""What every autoencoder has, whoever wrote it: a shape, a latent vector, a mask."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from numpy.typing import ArrayLike
from torch import nn

from models.layers.convolution import Shape
from models.zoo.code_variance import CodeVariance

Mask = ArrayLike | torch.Tensor | None


class Autoencoder(nn.Module):
    """A pair of maps between fields on a grid and a short vector.

    Fields are standardised by the caller. Solid points are set to zero on the way in, whatever they hold (a NaN
    too), and on the way out, so that they influence neither latent nor output; a loss on the output masked
    with `mask` is then a loss on the fluid alone.

    A subclass gives two modules, `encoder` from (B, C, nx, ny, nz) to (B, *latent_shape) and `decoder` back,
    or its own `encode` and `decode`.

    Parameters
    ----------
    channels : C, variables at a grid point
    shape : (nx, ny, nz), points of the grid
    latent_shape : shape of one latent as the networks see it; n_latent is its product
    mask : (nx, ny, nz), 1 or True for fluid points, 0 or False for solid ones; None for fluid only

    Attributes
    ----------
    channels, shape, latent_shape, n_latent : as above
    mask : (nx, ny, nz) buffer of ones and zeros
    variance : CodeVariance, log σ² of a code as a function of it, of variational networks; None for others
    architecture : {"name", "channels", "shape", "options"} that makes it anew, or None (see :mod:`models.zoo`)
    """

    mask: torch.Tensor
    encoder: Callable[[torch.Tensor], torch.Tensor]
    decoder: Callable[[torch.Tensor], torch.Tensor]

    def __init__(self, channels: int, shape: Sequence[int], latent_shape: Sequence[int], mask: Mask = None) -> None:
        super().__init__()
        self.channels = int(channels)
        self.shape = grid_shape(shape)
        if self.channels < 1:
            raise ValueError(f"channels = {channels}, expected one or more variables")
        self.latent_shape = tuple(int(n) for n in latent_shape)
        self.n_latent = math.prod(self.latent_shape)
        self.variance: CodeVariance | None = None
        self.architecture: dict[str, Any] | None = None
        self.register_buffer("mask", as_mask(mask, self.shape))

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, C, nx, ny, nz) fields → (B, n_latent)."""
        return self.encoder(self.without_solids(fields)).flatten(1)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, n_latent) → (B, C, nx, ny, nz), zero at solid points."""
        self.check_latent(latent)
        return self.decoder(latent.reshape(-1, *self.latent_shape)) * self.mask

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, C, nx, ny, nz) → the same after coding and decoding."""
        return self.decode(self.encode(fields))

    def without_solids(self, fields: torch.Tensor) -> torch.Tensor:
        """Fields of the right shape with zeros at solid points."""
        expected = (self.channels, *self.shape)
        if tuple(fields.shape[1:]) != expected:
            wanted = ", ".join(map(str, expected))
            raise ValueError(f"fields of shape {tuple(fields.shape)}, expected (batch, {wanted})")
        # not a product: a solid point may hold a NaN
        return torch.where(self.mask > 0, fields, torch.zeros((), dtype=fields.dtype, device=fields.device))

    def check_latent(self, latent: torch.Tensor) -> None:
        """Refuse what is no (B, n_latent)."""
        if latent.ndim != 2 or latent.shape[1] != self.n_latent:
            raise ValueError(f"latent of shape {tuple(latent.shape)}, expected (batch, {self.n_latent})")


class Wrapped(Autoencoder):
    """A user's own torch module with `encode` and `decode` of any latent shape, made to keep the promises above.

    Parameters
    ----------
    module : nn.Module; encode (B, C, nx, ny, nz) → (B, …), decode back
    channels, shape, mask : as for `Autoencoder`
    """

    module: Any  # torch does not know of its `encode` and `decode`

    def __init__(self, module: nn.Module, channels: int, shape: Sequence[int], mask: Mask = None) -> None:
        shape = grid_shape(shape)
        fields = torch.zeros(1, int(channels), *shape)
        training, own = module.training, cast(Any, module.eval())
        with torch.no_grad():
            latent = own.encode(fields)
            back = own.decode(latent)
        if back.shape != fields.shape:
            raise ValueError(
                f"{type(module).__name__}: decode gives {tuple(back.shape)} for fields of {tuple(fields.shape)}; "
                "crop or pad in the module so that both are the same"
            )
        super().__init__(channels, shape, latent.shape[1:], mask)
        self.module = module.train(training)

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        return self.module.encode(self.without_solids(fields)).flatten(1)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        self.check_latent(latent)
        return self.module.decode(latent.reshape(-1, *self.latent_shape)) * self.mask


def grid_shape(shape: Sequence[int]) -> Shape:
    """(nx, ny, nz) as three positive whole numbers."""
    points = [int(n) for n in shape]
    if len(points) != 3 or min(points) < 1:
        raise ValueError(f"grid of shape {shape}, expected three positive numbers of points")
    nx, ny, nz = points
    return nx, ny, nz


def as_mask(mask: Mask, shape: Shape) -> torch.Tensor:
    """A mask as a float tensor of the grid's shape, checked; None gives ones."""
    if mask is None:
        return torch.ones(shape)
    mask = torch.as_tensor(mask)
    if tuple(mask.shape) != shape:
        raise ValueError(f"mask of shape {tuple(mask.shape)}, expected the grid's {shape}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask holds other values than 0 (solid) and 1 (fluid)")
    return mask.to(torch.get_default_dtype()).contiguous().clone()
