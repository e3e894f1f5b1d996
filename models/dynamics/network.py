"""Networks that forecast codes: a linear inverse model, and what a small network adds to it.

    residual    z' = F_lin(z) + s ∘ N((z − c) / s),           N a perceptron of two hidden layers
    recurrent   h' = GRU((z − c) / s, h),  z' = F_lin(z) + s ∘ W h',   with a memory h of what was before

c and s are mean and standard deviation of the training's codes. The last layer begins at zero, so that training begins
at the linear model. The gated recurrent unit is that of Cho et al. 2014, arXiv:1406.1078.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from models.dynamics.linear import LinearDynamics
from models.names.choices import DYNAMICS

DTYPE = torch.float64  # codes are few, and derivatives exact


class _AboutLinear(nn.Module):
    """What both share; what is trained has names that begin with those of layers."""

    matrix: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: LinearDynamics, scale: np.ndarray) -> None:
        super().__init__()
        for name, values in {"matrix": linear.matrix, "centre": linear.centre, "scale": scale}.items():
            self.register_buffer(name, torch.as_tensor(np.array(values), dtype=DTYPE))

    @property
    def n_codes(self) -> int:
        """m."""
        return len(self.centre)

    def _linear(self, codes: torch.Tensor) -> torch.Tensor:
        return self.centre + (codes - self.centre) @ self.matrix.T


class Residual(_AboutLinear):
    """(B, m) → (B, m); it has no memory."""

    n_memory = 0

    def __init__(self, linear: LinearDynamics, scale: np.ndarray, hidden: int, seed: int = 0) -> None:
        super().__init__(linear, scale)
        m = self.n_codes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Linear(m, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, m)]
            self.layers = nn.Sequential(*layers).to(DTYPE)
        _to_zero(self.layers[-1])

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """A step."""
        return self._linear(state) + self.scale * self.layers((state - self.centre) / self.scale)


class Recurrent(_AboutLinear):
    """(B, m + h) → (B, m + h), codes with the memory behind them."""

    def __init__(self, linear: LinearDynamics, scale: np.ndarray, hidden: int, seed: int = 0) -> None:
        super().__init__(linear, scale)
        self.n_memory = hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList([nn.GRUCell(self.n_codes, hidden), nn.Linear(hidden, self.n_codes)]).to(DTYPE)
        _to_zero(self.layers[-1])

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """A step."""
        codes, memory = state[:, : self.n_codes], state[:, self.n_codes :]
        remembered = self.layers[0]((codes - self.centre) / self.scale, memory)
        forecast = self._linear(codes) + self.scale * self.layers[1](remembered)
        return torch.cat([forecast, remembered], dim=1)


CodeNetwork = Residual | Recurrent
NETWORKS: dict[str, Any] = dict(zip(DYNAMICS, (Residual, Recurrent), strict=True))


def _to_zero(layer: Any) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class NetworkDynamics:
    """F by a network, as `da.window.dynamics` asks for it; a recurrent one's numbers are codes and memory together.

    module : CodeNetwork, trained
    noise : (m, m) covariance of its errors in a step
    """

    module: CodeNetwork
    noise: np.ndarray

    @property
    def n_memory(self) -> int:
        """h, numbers behind the codes; 0 for one without memory."""
        return self.module.n_memory

    def step(self, codes: np.ndarray) -> np.ndarray:
        """A time step later: (m + h,) or (m + h, k) → the same."""
        with torch.no_grad():
            return self.module(_rows(codes)).T.numpy().reshape(codes.shape)

    def tangent(self, direction: np.ndarray, at: np.ndarray) -> np.ndarray:
        """F'(z) p: (m + h,) → (m + h,)."""
        moved: Any = torch.func.jvp(self.module, (_rows(at),), (_rows(direction),))[1]
        return moved.detach().numpy()[0]

    def adjoint(self, sensitivity: np.ndarray, at: np.ndarray) -> np.ndarray:
        """F'(z)ᵀ q: (m + h,) → (m + h,)."""
        state = _rows(at).requires_grad_()
        (pulled,) = torch.autograd.grad(self.module(state), state, _rows(sensitivity))
        return pulled.numpy()[0]

    def warmed_up(self, codes: np.ndarray) -> np.ndarray:
        """Codes and memory after a run of codes: (T, m) or (T, m, k), the last one's, → (m + h,) or (m + h, k)."""
        runs = torch.as_tensor(codes.reshape(*codes.shape[:2], -1).transpose(2, 0, 1).copy(), dtype=DTYPE)
        with torch.no_grad():
            return warm(self.module, runs).T.numpy().reshape(-1, *codes.shape[2:])


def warm(module: CodeNetwork, runs: torch.Tensor) -> torch.Tensor:
    """(B, T, m) codes → (B, m + h) the last ones, with a memory of those before."""
    memory = runs.new_zeros(len(runs), module.n_memory)
    if module.n_memory:
        for k in range(runs.shape[1] - 1):
            memory = module(torch.cat([runs[:, k], memory], dim=1))[:, module.n_codes :]
    return torch.cat([runs[:, -1], memory], dim=1)


def _rows(codes: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(codes.reshape(len(codes), -1).T), dtype=DTYPE)
