"""Strided 3D convolutions and the transposed ones that undo their shape exactly."""

from torch import nn


def strided_shape(shape, stride=2):
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

    def __init__(self, c_in, c_out, stride=2, kernel=3):
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

    def __init__(self, c_in, c_out, shape, stride=2, kernel=3):
        self.out_shape, self.in_shape = tuple(shape), strided_shape(shape, stride)
        missing = tuple(n - (m - 1) * stride - 1 for n, m in zip(self.out_shape, self.in_shape))
        super().__init__(c_in, c_out, kernel, stride, _half(kernel), output_padding=missing)

    def forward(self, x):
        if tuple(x.shape[2:]) != self.in_shape:
            raise ValueError(f"features of {tuple(x.shape[2:])} points, expected {self.in_shape} for {self.out_shape}")
        return super().forward(x)
