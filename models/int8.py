"""Weights of eight bits in files, and convolutions that multiply them as they are, by oneDNN.

A weight is a whole number from −127 to 127 times the step of the channel that it helps to make. What a convolution
takes is rounded likewise, to 255 steps between plus and minus the largest value that the training states gave it: what
is larger is cut off (Jacob et al. 2017). Sums are of 32 bits, results float32.

oneDNN has such convolutions of 3D where the CPU multiplies bytes (AVX-512 VNNI, AVX-VNNI); other CPUs, GPUs, and the
engines FBGEMM and QNNPACK are not asked.

Jacob et al. 2017, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
    https://arxiv.org/abs/1712.05877
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from models.layers.shuffle import Shuffle

LEVELS = 127  # of a weight, and of a value, on either side of zero
_ZERO = 128  # the byte that stands for a value of zero
_LEAST = 5e7  # products, below which rounding takes longer than eight bits save
_SMALLEST = 1e-30


def lacks_int8() -> str | None:
    """Why there are no convolutions of eight bits here, in words; None where they are."""
    if not (torch.backends.mkldnn.is_available() and _convolve() is not None):
        return "this torch lacks oneDNN's convolutions of eight bits"
    if not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        return "this CPU does not multiply bytes (AVX-512 VNNI or AVX-VNNI)"
    return None


def _convolve() -> Callable[..., torch.Tensor] | None:
    return getattr(torch.ops.onednn, "qconv3d_pointwise", None) or getattr(torch.ops.onednn, "qconv_pointwise", None)


def quantised(weight: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Whole numbers and their steps.

    Parameters
    ----------
    weight : of a convolution
    axis : of the channels that it makes

    Returns
    -------
    int8 of the weight's shape, and float32 steps that multiply them, of length one along all axes but that
    """
    others = [k for k in range(weight.ndim) if k != axis]
    step = (weight.detach().float().abs().amax(others, keepdim=True) / LEVELS).clamp_min(_SMALLEST)
    return (weight.detach().float() / step).round().to(torch.int8), step


def weight_axes(model: nn.Module) -> dict[str, int]:
    """{name of a convolution's weight: axis of the channels that it makes}."""
    return {
        f"{name}.weight": 1 if isinstance(layer, nn.ConvTranspose3d) else 0
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d))
    }


def round_weights(model: nn.Module) -> None:
    """Round the weights of all convolutions as a file of eight bits does, in place."""
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, axis in weight_axes(model).items():
            whole, step = quantised(weights[name], axis)
            weights[name].copy_(whole.float() * step)


def largest_inputs(model: nn.Module, passes: Iterable[Callable[[], object]]) -> dict[str, float]:
    """The largest value that each convolution takes where eight bits save time.

    Parameters
    ----------
    model : in evaluation mode
    passes : functions that run it, on the states of calibration

    Returns
    -------
    {name of a convolution: its largest value}
    """
    within = {name for name, layer in model.named_modules() if isinstance(layer, Shuffle)}
    found: dict[str, float] = {}

    def hook(name):
        def note(layer, inputs, output):
            points = (inputs[0] if isinstance(layer, nn.ConvTranspose3d) else output)[0, 0].numel()
            if points * layer.weight.numel() >= _LEAST:
                found[name] = max(found.get(name, 0.0), float(inputs[0].abs().max()))

        return note

    handles = [
        layer.register_forward_hook(hook(name))
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)) and layer.groups == 1
        and name.rpartition(".")[0] not in within  # a shuffle's is a matrix product
    ]  # fmt: skip
    try:
        with torch.no_grad():
            for run in passes:
                run()
    finally:
        for handle in handles:
            handle.remove()
    return found


class Int8Convolution(nn.Module):
    """A 3D convolution of eight bits, (B, c_in, n…) → (B, c_out, …) float32, the channel fastest in memory.

    Parameters
    ----------
    weight, bias : of a float32 convolution; weights are rounded
    largest : value that it takes
    padding, stride, dilation : as of a convolution

    Raises
    ------
    ValueError
        where there are none
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        largest: float,
        padding: Sequence[int] = (0, 0, 0),
        stride: Sequence[int] = (1, 1, 1),
        dilation: Sequence[int] = (1, 1, 1),
    ) -> None:
        super().__init__()
        problem = lacks_int8()
        if problem is not None:
            raise ValueError(f"precision int8: {problem}; compress the network with precision: float32")
        if not (math.isfinite(largest) and largest > 0.0):
            raise ValueError(f"precision int8: a largest value of {largest!r}, expected a positive number")
        self.scale, self.bias = largest / LEVELS, None if bias is None else bias.detach().float()
        self.how = (list(stride), list(padding), list(dilation), 1)
        whole, step = quantised(weight, 0)
        self.step, self.zeros = step.flatten(), torch.zeros(len(weight), dtype=torch.int64)
        self.middle = torch.tensor(_ZERO + 0.5)
        # oneDNN's own order of numbers; no buffer, as it has no dtype to be turned to
        self.packed = torch.ops.onednn.qconv_prepack(whole, self.step, self.scale, _ZERO, *self.how)
        self.convolve = _convolve()

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Values as bytes."""
        x = x.contiguous(memory_format=torch.channels_last_3d)
        # rounded to the nearest by cutting off, as bytes are made; one pass less than torch.round
        return self.middle.add(x, alpha=1.0 / self.scale).clamp_(0.0, 255.0).to(torch.uint8)

    def of_bytes(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of `rounded` values."""
        assert self.convolve is not None  # it was asked for
        return self.convolve(
            x, self.scale, _ZERO, self.packed, self.step, self.zeros, self.bias, *self.how, 1.0, 0, torch.float32,
            "none", [], "",
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of_bytes(self.rounded(x))
