"""Weights averaged over the steps of a training, which judge less by the last batches than the weights themselves.

Polyak & Juditsky 1992, Acceleration of stochastic approximation by averaging, https://doi.org/10.1137/0330046
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """A running mean of a network's weights, w̄ ← w̄ + (1 − d) (w − w̄); the statistics of batch norms are the network's.

    Parameters
    ----------
    model : nn.Module
    decay : d, reached after about ten steps for each 1 / (1 − d); 0 for the weights themselves
    values : {name: tensor} of a mean to go on from, or None

    Attributes
    ----------
    values : {name: tensor}; empty without an average
    """

    def __init__(self, model: nn.Module, decay: float, values: dict[str, torch.Tensor] | None = None) -> None:
        self._model, self._decay = model, decay
        weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad} if decay else {}
        if values and values.keys() != weights.keys():
            raise ValueError("the averaged weights are of another network")
        self.values = {name: (values[name].to(p) if values else p.clone()) for name, p in weights.items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take the weights in; `steps` are those done so far."""
        if self.values:
            decay = min(self._decay, (1.0 + steps) / (10.0 + steps))
            for name, p in self._model.named_parameters():
                if name in self.values:
                    self.values[name].lerp_(p, 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network with averaged weights, for as long as the block lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self):
        for name, p in self._model.named_parameters():
            if name in self.values:
                own = p.clone()
                p.copy_(self.values[name])
                self.values[name].copy_(own)
