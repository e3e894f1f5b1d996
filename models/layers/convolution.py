"""Strided 3D convolutions and the transposed ones that undo their shape exactly.

Dumoulin & Visin 2016, A guide to convolution arithmetic for deep learning, https://arxiv.org/abs/1603.07285
"""

from collections.abc import Sequence

import torch
from torch import nn

Shape = tuple[int, int, int]  # points along x, y, z


def strided_shape(shape: Sequence[int], stride: int = 2) -> tuple[int, ...]:
    """Points left of `shape` by a convolution with a stride: ⌈n / stride⌉ along each axis."""
    return tuple(-(-n // stride) for n in shape)


def _half(kernel):
    if kernel % 2 == 0:
        raise ValueError(f"kernel of {kernel} points, expected an odd number: an even one has no middle")
    return kernel // 2


class Down(nn.Conv3d):
    """3D convolution with a stride (Dumoulin & Visin 2016): y_i = Σ_k W_k x_{s·i + k}, |k| ≤ kernel/2, zeros outside.

    (B, c_in, n…) → (B, c_out, ⌈n/s⌉…) for any n: half a kernel of padding makes the size independent of it, and
    strides one after the other leave what one of their product does.

    Parameters
    ----------
    c_in, c_out : channels
    stride, kernel : points, `kernel` odd
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 2, kernel: int = 3) -> None:
        super().__init__(c_in, c_out, kernel, stride, _half(kernel))


class Up(nn.ConvTranspose3d):
    """Transposed 3D convolution to a given shape: the adjoint of `Down` with the same weights, and a bias.

    (B, c_in, ⌈n/s⌉…) → (B, c_out, n…). All n with the same ⌈n/s⌉ look alike to the input, so the wanted n is
    given and what the sum leaves open at the far end is filled up to it.

    Parameters
    ----------
    c_in, c_out : channels
    shape : (nx, ny, nz) of the result
    stride, kernel : points, `kernel` odd
    """

    bias: nn.Parameter

    def __init__(self, c_in: int, c_out: int, shape: Sequence[int], stride: int = 2, kernel: int = 3) -> None:
        self.out_shape, self.in_shape = tuple(shape), strided_shape(shape, stride)
        x, y, z = (n - (m - 1) * stride - 1 for n, m in zip(self.out_shape, self.in_shape, strict=True))
        super().__init__(c_in, c_out, kernel, stride, _half(kernel), output_padding=(x, y, z))

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """As of any transposed convolution; `output_size` is given by the shape."""
        if tuple(input.shape[2:]) != self.in_shape:
            raise ValueError(
                f"features of {tuple(input.shape[2:])} points, expected {self.in_shape} for {self.out_shape}"
            )
        return super().forward(input, output_size)
