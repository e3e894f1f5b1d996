"""How uncertain a code is: the variance of a variational autoencoder's posterior (Kingma & Welling 2013).

Kingma & Welling 2013, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
"""

from typing import cast

import torch
from torch import nn

_HIDDEN = 64
_START = -4.0  # log σ² before training: codes are nearly certain, and reconstructions good from the first step
_RANGE = (-20.0, 10.0)


class CodeVariance(nn.Module):
    """log σ² of q(z|x) = N(f(x), diag σ²), as a function of f(x): W₂ tanh(W₁ f(x) + b₁) + b₂.

    Of all σ² the best is 1/(1 + ‖∂g/∂z_i‖²/β) where the decoder's errors have variance β, and that is a function of
    the code alone. Any network can have it so, whatever its encoder is. W₂ is zero at the start.
    (B, m) → (B, m).

    Parameters
    ----------
    n_latent : m
    """

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        hidden = min(n_latent, _HIDDEN)
        last = nn.Linear(hidden, n_latent)
        nn.init.zeros_(last.weight)
        nn.init.constant_(cast(torch.Tensor, last.bias), _START)
        self.layers = nn.Sequential(nn.Linear(n_latent, hidden), nn.Tanh(), last)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.layers(codes).clamp(*_RANGE)
