"""Batch norm that also takes a batch with one value a channel.

Ioffe & Szegedy 2015, Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift, https://arxiv.org/abs/1502.03167
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm3d):
    """y = γ (x − E x) / √(Var x + ε) + β, over batch and points of each channel (Ioffe & Szegedy 2015).

    (B, C, n…) → the same shape. On small grids the coarsest features are a single point; one field in a batch then
    has no variance to divide by, and the running statistics are used as in evaluation.

    Attributes
    ----------
    summed : in training over several ranks their differentiable sum of a tensor, so that mean and variance are those of
        all ranks' samples; None for this rank's own. (torch's SyncBatchNorm does this on GPUs only.)
    """

    summed: Callable[[torch.Tensor], torch.Tensor] | None = None
    # of the kinds that BatchNorm3d has when it is affine and tracks statistics, as it is here
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.training and self.summed is not None:
            return self._over_ranks(input, self.summed)
        if self.training and input.numel() == self.num_features:
            about = self.running_mean, self.running_var, self.weight, self.bias
            return F.batch_norm(input, *about, False, 0.0, self.eps)
        return super().forward(input)

    def _over_ranks(self, x, summed):
        at = (1, -1, 1, 1, 1)
        # about the running mean: sums of squares then lose little to rounding. Each rank has a sample: count ≥ 2
        centre = self.running_mean.clone()
        apart = x.to(self.weight.dtype) - centre.view(at)
        count = apart.new_full((1,), apart[:, 0].numel())
        sums = summed(torch.cat([apart.sum((0, 2, 3, 4)), apart.square().sum((0, 2, 3, 4)), count]))
        count = sums[-1]
        mean, square = (sums[:-1] / count).chunk(2)
        variance = (square - mean * mean).clamp_min(0.0)
        with torch.no_grad():
            self.running_mean.lerp_(centre + mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        factor = self.weight * torch.rsqrt(variance + self.eps)
        return (apart - mean.view(at)) * factor.view(at) + self.bias.view(at)
