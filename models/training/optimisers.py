"""How weights are changed: AdamW, or Muon for the convolutions and AdamW for the rest."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from models.names.choices import OPTIMISERS

_REST = 0.1  # rate of what is no matrix, beside Muon's
_DECAYED = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)  # whose weights decay; norms, slopes and GDN's β and γ do not


def make_optimisers(
    model: nn.Module, name: str, rate: float | None, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Optimisers of a network's weights; each group of weights has its largest rate as "peak".

    Parameters
    ----------
    model : Autoencoder
    name : "adamw" (Loshchilov & Hutter 2019), or "muon" for the convolutions' weights, with AdamW for the others
    rate : largest learning rate, of Muon where it is used; None for the optimiser's own
    weight_decay : of convolutions' and dense layers' weights

    Returns
    -------
    list of torch optimisers
    """
    rate = OPTIMISERS[name] if rate is None else rate
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, _DECAYED)}
    matrices: list[nn.Parameter] = []
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for weight in model.parameters():
        if not weight.requires_grad:
            continue
        if name == "muon" and id(weight) in decayed and min(weight.shape[:2]) > 1:
            matrices.append(weight)
        else:
            groups[id(weight) in decayed].append(weight)
    rest = _REST * rate if name == "muon" else rate
    adamw = [
        {"params": weights, "weight_decay": weight_decay if decays else 0.0, "peak": rest}
        for decays, weights in groups.items()
        if weights
    ]
    made: list[torch.optim.Optimizer] = []
    if adamw:
        made.append(torch.optim.AdamW(adamw, fused=True))
    if matrices:
        made.append(Muon(matrices, rate, weight_decay))
    return made


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal, W ← W − η √max(1, r/c) · U Vᵀ of the momentum's U S Vᵀ (Jordan 2024).

    All directions of a weight matrix then learn at one rate, also those of weak gradients: in an autoencoder of a flow
    these are the smaller eddies. A convolution's weight is taken as a matrix of r rows, its first axis, and c columns.

    Parameters
    ----------
    weights : tensors of two axes or more
    peak : largest learning rate
    weight_decay : decoupled, as AdamW's
    momentum : of Nesterov's kind
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], peak: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(weights, {"lr": peak, "peak": peak, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            rate, kept = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1.0 - kept)
                step = orthogonal(weight.grad.lerp(momentum, kept).flatten(1)).view(weight.shape)
                step *= max(1.0, len(weight) / weight[0].numel()) ** 0.5
                weight.mul_(1.0 - rate * group["weight_decay"]).sub_(step, alpha=rate)
        return loss


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U Vᵀ of U S Vᵀ, by five Newton–Schulz steps: singular values end between 0.7 and 1.2 (Jordan 2024)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x
