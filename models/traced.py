"""A network's layers run without Python between them, once it has been used so often that this pays.

Thin networks are many small layers: a fifth of their time is Python's. torch records which operations a pass makes of
one state, and runs them by itself from then on, the same ones in the same order. Recording takes about a second, so it
waits until the pass has been asked for some times. It is for the zoo's networks alone: what a user's own network does
may depend on the values, which a record does not see.
"""

import warnings

import torch
from torch import nn

_OFTEN = 16  # passes before one is recorded


class Way(nn.Module):
    """One way through an autoencoder, "encode" or "decode", as a module."""

    def __init__(self, model: nn.Module, way: str) -> None:
        super().__init__()
        self.model, self.way = model, way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self.model, self.way)(x)


class RecordedWay:
    """A way that is recorded after some passes of one state; batches of several go through the layers themselves.

    Parameters
    ----------
    way : in evaluation mode, its parameters without gradients
    """

    def __init__(self, way: Way) -> None:
        self.way, self.asked = way, 0
        self.recorded: nn.Module | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) != 1:
            return self.way(x)
        if self.recorded is None:
            self.asked += 1
            if self.asked <= _OFTEN:
                return self.way(x)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", torch.jit.TracerWarning)  # on shapes, which are fixed
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # on the recorder's successor, which needs a compiler
                self.recorded = torch.jit.freeze(torch.jit.trace(self.way, x, check_trace=False))
        return self.recorded(x)
