"""A network on the one rank that runs it: a latent and a field as numpy vectors, their derivatives by torch.

A field is a vector in the order of a state: point by point, the variable fastest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad

HALF_PRECISIONS = (torch.bfloat16, torch.float16)
Module = TypeVar("Module", bound=nn.Module)


class Network(Protocol):
    """What every autoencoder has; a torch module besides.

    n_latent, channels, shape : m, C and (nx, ny, nz)
    """

    n_latent: int
    channels: int
    shape: tuple[int, int, int]

    def encode(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, C, nx, ny, nz) → (B, m)."""
        ...

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, m) → (B, C, nx, ny, nz)."""
        ...


@dataclass(frozen=True)
class PlainPasses:
    """Passes of a network for where no derivative follows; they may differ from its own by rounding.

    encode : (B, C, nx, ny, nz) → (B, m)
    decode : (B, m) → (B, C, nx, ny, nz)
    """

    encode: Callable[[torch.Tensor], torch.Tensor]
    decode: Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Passes:
    """How often a network ran.

    An adjoint or tangent at a latent whose activations are in memory runs no decode of its own; a tangent by forward
    mode runs the decode again beside its derivative, and is counted as a tangent alone.

    forward_mode, twice : false once a layer of the network turned out to lack forward mode, or a second derivative
    verified : whether a tangent by a second derivative has been compared with the adjoint's transpose
    """

    encodes: int = 0
    decodes: int = 0
    adjoints: int = 0
    tangents: int = 0
    forward_mode: bool = True
    twice: bool = True
    verified: bool = False


@dataclass(frozen=True)
class Activations:
    """What derivatives at one latent need.

    at : (m,) the latent
    z, field : its tensor and that of g(z), (n,), with torch's graph between them
    """

    at: np.ndarray
    z: torch.Tensor
    field: torch.Tensor


@dataclass(frozen=True)
class PulledBack:
    """(m,) g'ᵀ v as a function of v, whose own derivative is g'; at one latent."""

    seed: torch.Tensor
    result: torch.Tensor


@dataclass
class ActivationCache:
    """A cache of one point: the activations at the latent that was last asked for, and what tangents there need."""

    activations: Activations | None = None
    pulled_back: PulledBack | None = None

    def at(self, latent: np.ndarray) -> Activations | None:
        """Activations at a latent, if they are here."""
        there = self.activations
        return there if there is not None and np.array_equal(there.at, latent) else None

    def hold(self, activations: Activations) -> None:
        """Take another point's in place of what is here."""
        self.activations, self.pulled_back = activations, None

    def clear(self) -> None:
        """Free the memory."""
        self.activations = self.pulled_back = None


@dataclass
class LocalNetwork:
    """Encodes, decodes and derivatives of a network on this rank.

    module : torch module of its own in evaluation mode, whose parameters take no gradients; a `Network`
    dtype : numpy dtype of its numbers
    device : torch device that it is on
    plain : encode and decode for where no derivative follows; None for the module's own
    passes, cache : counts, and the activations of one point
    """

    module: nn.Module
    dtype: np.dtype
    device: torch.device
    plain: PlainPasses | None = None
    passes: Passes = field(default_factory=Passes)
    cache: ActivationCache = field(default_factory=ActivationCache)

    @property
    def network(self) -> Network:
        """The module by what it can do."""
        return self.module  # type: ignore[return-value]  # of any class: `parallel_decoder` checks what it has

    def encode(self, state: np.ndarray) -> np.ndarray:
        """(n,) → (m,)."""
        self.passes.encodes += 1
        with torch.no_grad():
            grid = torch.as_tensor(state, device=self.device).reshape(*self.network.shape, self.network.channels)
            encode = (self.plain or self.network).encode
            return encode(grid.permute(3, 0, 1, 2)[None].contiguous())[0].cpu().numpy()

    def decode(self, latent: np.ndarray, keep: bool = False) -> np.ndarray:
        """(m,) → (n,); `keep` holds the activations, so that derivatives at the same latent run no decode."""
        there = self._activations(latent) if keep else self.cache.at(latent)
        if there is not None:
            return there.field.detach().cpu().numpy()
        self.passes.decodes += 1
        with torch.no_grad():
            return self._field(self._tensor(latent), self.plain).cpu().numpy()

    def adjoint(self, cotangent: np.ndarray, at: np.ndarray) -> np.ndarray:
        """g'(z)ᵀ v: (n,) → (m,), by one VJP."""
        there = self._activations(at)
        self.passes.adjoints += 1
        return _vjp(there.field, there.z, self._tensor(cotangent)).cpu().numpy()

    def tangent(self, direction: np.ndarray, at: np.ndarray) -> np.ndarray:
        """g'(z) p: (m,) → (n,), as `ParallelDecoder.tangent` describes."""
        self.passes.tangents += 1
        if self.passes.twice and self.cache.at(at) is not None:
            try:
                return self._twice_backward(direction, at)
            except RuntimeError:  # torch has no class of its own for it
                self.passes.twice = False
                self.cache.pulled_back = None
        if self.passes.forward_mode:
            try:
                return self._forward_mode(direction, at)
            except NotImplementedError:
                self.passes.forward_mode = False
        return self._twice_backward(direction, at)

    def code_deviation(self, latent: np.ndarray) -> np.ndarray:
        """(m,) f(x) → (m,) standard deviations of a variational network's codes there."""
        variance = getattr(self.module, "variance", None)
        if variance is None:
            raise ValueError("the network has no variances of its codes; train it with objective: vae")
        with torch.no_grad():
            return (0.5 * variance(self._tensor(latent)[None])[0]).exp().cpu().numpy()

    def _field(self, z, plain=None):
        return (plain or self.network).decode(z[None])[0].permute(1, 2, 3, 0).reshape(-1)

    def _tensor(self, values):
        return torch.as_tensor(np.array(values, dtype=self.dtype), device=self.device)

    def _activations(self, latent):
        there = self.cache.at(latent)
        if there is None:
            self.cache.clear()  # before there are two of them in memory
            self.passes.decodes += 1
            z = self._tensor(latent).requires_grad_()
            with torch.enable_grad():
                there = Activations(latent.copy(), z, self._field(z))
            self.cache.hold(there)
        return there

    def _forward_mode(self, direction, at):
        with torch.no_grad(), forward_ad.dual_level():
            out = self._field(forward_ad.make_dual(self._tensor(at), self._tensor(direction)))
            tangent = forward_ad.unpack_dual(out).tangent
            return (torch.zeros_like(out) if tangent is None else tangent).cpu().numpy()

    def _twice_backward(self, direction, at):
        there = self._activations(at)
        pulled = self.cache.pulled_back
        if pulled is None:
            seed = torch.zeros_like(there.field, requires_grad=True)
            with torch.enable_grad():
                pulled = PulledBack(seed, torch.autograd.grad(there.field, there.z, seed, create_graph=True)[0])
            self.cache.pulled_back = pulled
        direction = self._tensor(direction)
        tangent = _vjp(pulled.result, pulled.seed, direction)
        if not self.passes.verified:
            # torch leaves out a layer that is differentiable only once, without a word
            back = _vjp(there.field, there.z, tangent)
            square, crossed = float(tangent.double() @ tangent.double()), float(back.double() @ direction.double())
            if not abs(square - crossed) <= np.sqrt(np.finfo(self.dtype).eps) * square:
                raise RuntimeError("a layer has no second derivative, so the tangent cannot be computed")
            self.passes.verified = True
        return tangent.cpu().numpy()


def _vjp(out, at, cotangent):
    return torch.autograd.grad(out, at, cotangent, retain_graph=True)[0]


def dtype_of(module: nn.Module) -> torch.dtype:
    """The precision that a network computes in: that of its weights, float32 where it has none."""
    tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    return tensors[0].dtype if tensors else torch.float32


def in_full_precision(module: Module) -> Module:
    """A network of bfloat16 or float16 turned to float32, which holds its weights exactly; others as they are.

    Numpy and MPI lack bfloat16, CPUs many layers in float16, and derivatives would lose more than the weights have.
    """
    return module.float() if dtype_of(module) in HALF_PRECISIONS else module
