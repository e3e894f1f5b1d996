"""Tiny autoencoders for the grid of the small problem, and that problem with a decoder over any number of ranks."""

from types import SimpleNamespace

import numpy as np
import torch
from mpi4py import MPI
from small_problem import N, make_problem
from torch.autograd.function import once_differentiable

from da.background.latent import decoded_transform, latent_modes
from models.decoder import decodes, parallel_decoder

SHAPE, CHANNELS = (5, 6, 5), 2


class Autoencoder(torch.nn.Module):
    """What da asks of a network, with fields as vectors in the order of the state in between."""

    channels, shape = CHANNELS, SHAPE

    def __init__(self, n_latent):
        super().__init__()
        self.n_latent = n_latent

    def encode(self, fields):
        return self.f(fields.permute(0, 2, 3, 4, 1).reshape(len(fields), -1))

    def decode(self, latents):
        return self.g(latents).reshape(-1, *self.shape, self.channels).permute(0, 4, 1, 2, 3)


class Linear(Autoencoder):
    """f(x) = Wᵀ x, g(z) = W z."""

    def __init__(self, basis):
        super().__init__(basis.shape[1])
        self.weight = torch.nn.Parameter(torch.as_tensor(basis))

    def f(self, x):
        return x @ self.weight

    def g(self, z):
        return z @ self.weight.T


class Bent(Linear):
    """g(z) = W z + b tanh(A z) C + c: smooth, not linear, and g(0) is not zero."""

    def __init__(self, basis, bend=0.3, seed=3):
        super().__init__(basis)
        make = np.random.default_rng(seed).normal
        m, n = basis.shape[1], basis.shape[0]
        for name, shape, size in (("a", (m, 8), 1.0), ("c", (8, n), bend), ("b", (m, m), 0.1)):
            values = size * make(size=shape) / np.sqrt(shape[0])
            self.register_parameter(name, torch.nn.Parameter(torch.as_tensor(values.astype(basis.dtype))))

    def f(self, x):
        z = super().f(x)
        return z + torch.tanh(z @ self.b)

    def g(self, z):
        return super().g(z) + torch.tanh(z @ self.a + 0.2) @ self.c


class Cube(torch.autograd.Function):
    """x³ / 20, for which nobody wrote a forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3 / 20.0

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * 3.0 * x**2 / 20.0


class BackwardOnly(Bent):
    """As Bent, with a layer that has no forward mode."""

    def g(self, z):
        return super().g(z + Cube.apply(z))


class Sine(torch.autograd.Function):
    """sin(x) / 5, with a forward mode and a single derivative backwards."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return torch.sin(x) / 5.0

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * torch.cos(x) / 5.0

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return tangent * torch.cos(x) / 5.0


class Rigid(torch.autograd.Function):
    """sin(x) / 5 with a single derivative backwards and no forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sin(x) / 5.0

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * torch.cos(x) / 5.0


class NoTangent(Bent):
    """As Bent, with a layer that has neither of the ways to a tangent."""

    def g(self, z):
        return super().g(z + Rigid.apply(z))


class OnceOnly(Bent):
    """As Bent, with a layer that has no second derivative."""

    def g(self, z):
        return super().g(z + Sine.apply(z))


class Convolutional(Autoencoder):
    """Layers of the usual kinds: convolutions, PReLU, and a gate."""

    def __init__(self, seed=5):
        super().__init__(6)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.down = torch.nn.Conv3d(CHANNELS, 4, 3, stride=2, padding=1)
            self.narrow = torch.nn.Linear(4 * 27, self.n_latent)
            self.widen = torch.nn.Linear(self.n_latent, 4 * 27)
            self.up = torch.nn.ConvTranspose3d(4, 4, 3, stride=2, padding=1, output_padding=(0, 1, 0))
            self.gate = torch.nn.Conv3d(4, 4, 1)
            self.last = torch.nn.Conv3d(4, CHANNELS, 3, padding=1)
            self.bent = torch.nn.PReLU()

    def encode(self, fields):
        return self.narrow(self.bent(self.down(fields)).flatten(1))

    def decode(self, latents):
        fields = self.up(self.bent(self.widen(latents)).reshape(-1, 4, 3, 3, 3))
        return self.last(fields * torch.sigmoid(self.gate(fields)))


def tsvd_basis(truncation=6):
    """(N, τ) float64: orthonormal left singular vectors of the small problem's modes."""
    modes = make_problem(MPI.COMM_SELF, "tsvd", truncation).transform.modes
    return modes.vectors / modes.singular_values[:truncation]


def make_decoder(comm, network, scale, group=None):
    """The decoder, its network given to those ranks alone that decode."""
    return parallel_decoder(network if decodes(comm, group) else None, scale, comm, group=group)


def make_latent_problem(comm, network, truncation=6, shares=None, group=None, std=0.1):
    """The small problem, its TSVD transform, a decoder and this rank's anomalies."""
    problem = make_problem(comm, "tsvd", truncation, shares, std)
    snapshots = problem.snapshots[problem.rows]
    anomalies = snapshots - snapshots.mean(axis=1, keepdims=True)
    decoder = make_decoder(comm, network, problem.transform.scale, group)
    return SimpleNamespace(
        problem=problem, anomalies=anomalies, decoder=decoder, scale=problem.transform.scale, n_local=len(anomalies)
    )


def vector(n=N, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def made(network, centred, truncation=None):
    """A small problem with its decoded transform."""
    problem = make_latent_problem(MPI.COMM_SELF, network)
    modes = latent_modes(problem.decoder.encode(problem.anomalies), MPI.COMM_SELF, truncation, centred=centred)
    background = 0.7 * problem.anomalies[:, 3] if centred else None
    problem.transform = decoded_transform(problem.decoder, modes, background)
    problem.arguments = problem.problem.arguments[1:]
    return problem


def possible(problem, seed=3):
    """U, H, R and an innovation of a state that the decoder can make, with noise."""
    of, rng = problem.problem, np.random.default_rng(seed)
    truth = problem.transform.apply(rng.normal(size=problem.transform.n_control))
    return problem.transform, of.operator, of.error, of.operator.observe(truth) + of.std * rng.normal(size=len(of.std))
