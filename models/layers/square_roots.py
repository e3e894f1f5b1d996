"""Square roots of standardised variables that are never below zero, as of a concentration, and the way back.

    y = x + x̄/s,   a = √(y + δ²),   r = w (a − ā)

x̄ and s are mean and scale of the standardised x, so that y is the variable itself in units of s, and ā is the mean
root. A root's departure counts in y as 2a does, so that w = 2 √ȳ gives errors of r about the size of those of x. Back,
y = a² − δ² where that is δ² or more; below, an exponential with the same value and slope takes its place: no y is below
zero, and each has a slope, so that a minimiser finds its way back.

Simon & Bertino 2009, Application of the Gaussian anamorphosis to assimilation in a 3-D coupled physical-ecosystem model
    of the North Atlantic with the EnKF, https://doi.org/10.5194/os-5-495-2009
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

_DELTA = 0.03  # in standard deviations of the variable
_KNEE = 2.0**0.5 * _DELTA
_NEGATIVE = 1e-3  # of the squares may be of undershoots
_TOGETHER = 64  # states at a time


class SquareRoots(nn.Module):
    """Standardised fields to roots and back; fields of other variables stay as they are.

    Until `fit` the mean is zero and the weight one.

    Parameters
    ----------
    channels : C
    shape : (nx, ny, nz)
    rooted : numbers of the variables whose roots are taken

    ValueError if there is no such variable, or none is named.
    """

    rooted: torch.Tensor
    zero: torch.Tensor
    mean: torch.Tensor
    weight: torch.Tensor

    def __init__(self, channels: int, shape: Sequence[int], rooted: Sequence[int]) -> None:
        super().__init__()
        if not rooted or not all(0 <= int(k) < channels for k in rooted):
            raise ValueError(f"square roots of variables {list(rooted)}, expected numbers from 0 to {channels - 1}")
        chosen = torch.zeros(channels, 1, 1, 1, dtype=torch.bool)
        chosen[[int(k) for k in rooted]] = True
        self.register_buffer("rooted", chosen, persistent=False)
        for name, value in (("zero", 0.0), ("mean", 0.0), ("weight", 1.0)):
            self.register_buffer(name, torch.full((channels, *shape), value))

    def fit(self, values: np.ndarray, zero: np.ndarray) -> None:
        """Take mean roots and weights from states.

        Parameters
        ----------
        values : (S, C, nx, ny, nz) float32 standardised states
        zero : (C, nx, ny, nz) the standardised value where a variable is zero, −x̄/s

        Raises
        ------
        ValueError
            if zero is not finite, or more than a thousandth of the squares is of values below it
        """
        self.zero.copy_(torch.from_numpy(np.asarray(zero, np.float32)))
        if not torch.isfinite(self.zero).all():
            raise ValueError("square roots: mean or scale of the states is not finite")
        roots, size = (torch.zeros(self.zero.shape, dtype=torch.float64) for _ in range(2))
        below = whole = 0.0
        for first in range(0, len(values), _TOGETHER):
            fields = torch.from_numpy(np.ascontiguousarray(values[first : first + _TOGETHER]))
            variable = (fields - self.zero) * self.rooted
            roots += self._root(fields).sum(0, dtype=torch.float64)
            size += variable.sum(0, dtype=torch.float64)
            below += float(variable.clamp_max(0.0).square().sum())
            whole += float(variable.square().sum())
        if below > _NEGATIVE * whole:
            raise ValueError("square roots: values lie below zero; take none of a variable that may be negative")
        self.mean.copy_(roots / len(values))
        self.weight.copy_(2.0 * (size / len(values)).clamp_min(0.0).sqrt())

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """(B, C, nx, ny, nz) standardised values → roots."""
        return torch.where(self.rooted, self.weight * (self._root(fields) - self.mean), fields)

    def inverse(self, roots: torch.Tensor) -> torch.Tensor:
        """Roots → standardised values; zero where a value takes no part."""
        part = self.weight > 0.0
        root = self.mean + torch.where(part, roots / torch.where(part, self.weight, 1.0), 0.0)
        above = root.clamp_min(_KNEE)
        below = (root - above) * (2.0 * _KNEE / _DELTA**2)
        values = torch.where(root >= _KNEE, above.square() - _DELTA**2, _DELTA**2 * below.exp()) + self.zero
        return torch.where(self.rooted, torch.where(part, values, 0.0), roots)

    def _root(self, fields):
        return ((fields - self.zero).clamp_min(0.0) + _DELTA**2).sqrt()
