"""Batch norm that also takes a batch with one value a channel."""

from torch import nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm3d):
    """y = γ (x − E x) / √(Var x + ε) + β, over batch and points of each channel (Ioffe & Szegedy 2015).

    (B, C, n…) → the same shape. On small grids the coarsest features are a single point; one field in a batch then
    has no variance to divide by, and the running statistics are used as in evaluation.
    """

    def forward(self, x):
        if self.training and x.numel() == self.num_features:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)
