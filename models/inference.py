"""Encoding and decoding as fast as a CPU allows, for networks whose training is over.

What is done to the layers, measured by `benchmarks/decode.py`: batch norm is folded into convolutions, which go
straight to oneDNN; transposed convolutions become plain ones, one for each of the eight places of a voxel within
2³ (the sub-pixel convolution of Shi 2016, exact and without its zeros), or a matrix product and shifted sums where
they have few channels to give; whatever is pointwise is done with each eighth before they are put together, and so are
shuffles that follow one another; GDN works in place on a matrix product; interpolation is a matrix. Sums come in
another order, so results differ by rounding.
"""

import copy
import math
from collections.abc import Mapping
from itertools import product
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from models import zoo
from models.int8 import Int8Convolution
from models.layers.convolution import Up
from models.layers.gdn import GDN
from models.layers.rab import RAB, Resize
from models.layers.shuffle import Shuffle
from models.local_network import PlainPasses
from models.traced import RecordedWay, Way
from models.zoo.autoencoder import Autoencoder

# of a transposed 3³ convolution with stride 2, for even and odd results: its weights, and the point that each is
# multiplied with, counted from half the result's own number: y_{2q} = w_1 x_q, y_{2q+1} = w_2 x_q + w_0 x_{q+1}
_TAPS = (((1, 0),), ((2, 0), (0, 1)))
_CACHED = 2048  # points whose features fit into a core's cache
_FEW = 8  # channels: below, a matrix product and shifted sums are faster than eight convolutions
PRECISIONS = (torch.float32, torch.bfloat16)
_ONEDNN_BFLOAT16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fast_passes(
    model: Autoencoder, precision: torch.dtype = torch.float32, largest: Mapping[str, float] | None = None
) -> PlainPasses:
    """Functions that encode and decode as the model does in evaluation, only faster.

    The weights are those of now: make it anew after training. They give tensors without gradients. On another
    device than a CPU, or in float64, the layers stay as they are.

    Parameters
    ----------
    model : Autoencoder
    precision : torch.float32, or torch.bfloat16 where the CPU has it and errors of some thousandths do no harm
    largest : {name of a convolution: largest value that it takes} of those that compute with eight bits
        (:mod:`models.int8`), in float32 on a CPU alone; None for none

    Returns
    -------
    encode, decode : (B, C, nx, ny, nz) → (B, n_latent) and back, all in the model's own precision

    Raises
    ------
    ValueError
        for another precision, or eight bits where there are none
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision}, expected {' or '.join(map(str, PRECISIONS))}")
    model = copy.deepcopy(model).eval().requires_grad_(False)
    own = model.mask.dtype
    layers = dict(model.named_modules())
    for name, value in (largest or {}).items():
        if not isinstance(layers.get(name), (nn.Conv3d, nn.ConvTranspose3d)):
            raise ValueError(f"{name} computes with eight bits, but the network has no such convolution")
        layers[name].largest = value  # type: ignore[assignment]  # a mark for `_rewritten`
    if model.mask.device.type == "cpu" and own == torch.float32:
        with torch.no_grad():
            model = _rewritten(model).to(precision)
    inner = model.mask.dtype
    zoos = model.architecture is not None and not zoo.is_own(model.architecture["name"])
    # numbers in oneDNN's own order cannot be recorded
    by_record = zoos and not largest and model.mask.device.type == "cpu"

    def passing(name):
        way = Way(model, name).eval()
        run = RecordedWay(way) if by_record else way
        return torch.inference_mode()(lambda values: run(values.to(inner)).to(own))

    return PlainPasses(passing("encode"), passing("decode"))


def _rewritten(module):
    """A module with its layers, and theirs, replaced by faster ones."""
    if isinstance(module, GDN):
        return FastGDN(module)
    if isinstance(module, Resize):
        return FastResize(module)
    if isinstance(module, Shuffle):
        return FastShuffle(module)
    if isinstance(module, Up) and module.kernel_size == (3,) * 3 and module.stride == (2,) * 3:
        return nn.Sequential(Product(module), ShiftedSums(module)) if module.out_channels <= _FEW else SubPixel(module)
    if isinstance(module, nn.Conv3d):
        return _convolution(module)
    if isinstance(module, nn.Sequential):
        folded = [_rewritten(layer) for layer in _without_norms(_flat(module))]
        return nn.Sequential(*_joined(_flat(folded)))
    for name, child in module.named_children():
        setattr(module, name, _rewritten(child))
    return FastRAB(module) if isinstance(module, RAB) else module


def _flat(layers):
    """Layers of layers in one row."""
    return [each for layer in layers for each in (_flat(layer) if isinstance(layer, nn.Sequential) else [layer])]


def _without_norms(layers):
    """Layers with each batch norm folded into the convolution before it."""
    kept: list[nn.Module] = []
    for layer in layers:
        before = kept[-1] if kept else None
        if isinstance(layer, nn.BatchNorm3d) and isinstance(before, Shuffle):
            before.places = _folded(before.places, layer)
            continue
        if isinstance(layer, nn.BatchNorm3d) and isinstance(before, (nn.Conv3d, nn.ConvTranspose3d)):
            if isinstance(before, nn.Conv3d) or before.groups == 1:
                kept[-1] = _folded(before, layer)
                continue
        kept.append(layer)
    return kept


def _folded(convolution, norm):
    # a shuffle has a norm's channel in eight places
    places = convolution.out_channels // norm.num_features
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    scale, mean, shift = (each.repeat_interleave(places) for each in (scale, norm.running_mean, norm.bias))
    over_out = (1, -1, 1, 1, 1) if isinstance(convolution, nn.ConvTranspose3d) else (-1, 1, 1, 1, 1)
    bias = 0.0 if convolution.bias is None else convolution.bias
    convolution.weight = nn.Parameter(convolution.weight * scale.view(over_out), requires_grad=False)
    convolution.bias = nn.Parameter((bias - mean) * scale + shift, requires_grad=False)
    return convolution


def _joined(layers):
    """Layers with each pointwise one done by the sub-pixel convolution or the shuffle before it, before its pieces are
    put together."""
    kept: list[nn.Module] = []
    for layer in layers:
        before = kept[-1] if kept else None
        if isinstance(layer, FastGDN):
            layer.in_place = isinstance(before, _GIVES_ITS_OWN)
        if isinstance(before, (SubPixel, FastShuffle)) and (isinstance(layer, _POINTWISE) or _nests(before, layer)):
            before.after.append(layer)
        else:
            kept.append(layer)
    return kept


def _nests(before, layer):
    """Whether a shuffle is done before another's points are in their places: 64 small copies take longer than eight."""
    both = isinstance(before, FastShuffle) and isinstance(layer, FastShuffle)
    return both and math.prod(before.in_shape) > _CACHED


def _convolution(module):
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if plain and hasattr(module, "largest"):
        how = [cast(tuple[int, ...], of) for of in (module.padding, module.stride, module.dilation)]
        return Int8Convolution(module.weight, module.bias, cast(float, module.largest), *how)
    # 1³ with a stride of 1 is a matrix product, which torch does as well by itself
    if plain and module.kernel_size != (1, 1, 1):
        return Convolution(module)
    return module


class Convolution(nn.Module):
    """A 3D convolution by oneDNN: torch itself keeps those of few channels to a slow loop, five times slower."""

    def __init__(self, module: nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = module.weight, module.bias
        padding = cast(tuple[int, ...], module.padding)  # numbers: `_convolution` leaves others out
        self.how = (padding, module.stride, module.dilation, module.groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _convolved(x, self.weight, self.bias, *self.how)


def _convolved(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> torch.Tensor:
    """A 3D convolution by oneDNN where it can do it; in bfloat16 it needs AVX-512 or the like, which many CPUs lack."""
    if torch.backends.mkldnn.is_available() and (x.dtype != torch.bfloat16 or _ONEDNN_BFLOAT16):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
    return F.conv3d(x, weight, bias, stride, padding, dilation, groups)


class FastGDN(nn.Module):
    """GDN with β and γ made once, by pieces that stay in the cache.

    `in_place` writes over what it is given, for where that is a layer's result that nothing else sees: new memory of
    some megabytes takes longer to come by than the arithmetic.
    """

    beta: torch.Tensor
    gamma: torch.Tensor

    def __init__(self, module: GDN) -> None:
        super().__init__()
        self.inverse, self.in_place = module.inverse, False
        self.register_buffer("beta", module.beta[:, None].clone())
        self.register_buffer("gamma", module.gamma[None].clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d):
            return self._by_points(x)
        flat, gamma = x.flatten(2), self.gamma.expand(len(x), -1, -1)
        y = flat if self.in_place else torch.empty_like(flat)
        by_root = torch.mul if self.inverse else torch.div
        for part, into in zip(flat.split(_CACHED, 2), y.split(_CACHED, 2), strict=True):
            by_root(part, torch.baddbmm(self.beta, gamma, part * part).sqrt_(), out=into)
        return y.view(x.shape)

    def _by_points(self, x):
        """The same where the channel is fastest in memory."""
        flat = x.permute(0, 2, 3, 4, 1).flatten(0, 3)
        y = flat if self.in_place else torch.empty_like(flat)
        by_root, beta, gamma = torch.mul if self.inverse else torch.div, self.beta[:, 0], self.gamma[0].T
        for part, into in zip(flat.split(_CACHED), y.split(_CACHED), strict=True):
            by_root(part, torch.addmm(beta, part * part, gamma).sqrt_(), out=into)
        return y.view(len(x), *x.shape[2:], -1).permute(0, 4, 1, 2, 3)


class FastRAB(nn.Module):
    """RAB with its last product and sum in one pass."""

    def __init__(self, module: RAB) -> None:
        super().__init__()
        self.trunk, self.mask = module.trunk, module.mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()  # a convolution of eight bits leaves the channel fastest
        return torch.addcmul(x, self.trunk(x), self.mask(x))


class SubPixel(nn.Module):
    """`Up` with 3³ and stride 2 as eight convolutions (Shi 2016).

    Along an axis even results are a convolution of one weight, odd ones of two. `after`, pointwise layers, are
    applied to each piece.
    """

    def __init__(self, module: Up) -> None:
        super().__init__()
        self.out_shape, self.in_shape = module.out_shape, module.in_shape
        self.bias, self.after = module.bias, nn.Sequential()
        self.pieces: list[tuple[int, ...]] = []
        self.of_eight_bits: list[Int8Convolution] = []
        for odd in product((0, 1), repeat=3):
            if all(n > o for n, o in zip(self.out_shape, odd, strict=True)):
                kernel = module.weight.transpose(0, 1)
                for axis, o in enumerate(odd):
                    kernel = kernel.index_select(2 + axis, torch.tensor([weight for weight, _ in _TAPS[o]]))
                self.register_buffer(f"weight_{len(self.pieces)}", kernel.contiguous())
                if hasattr(module, "largest"):
                    self.of_eight_bits.append(Int8Convolution(kernel, module.bias, cast(float, module.largest)))
                self.pieces.append(odd)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # of an even number of points the last odd one has no right neighbour
        x = F.pad(x, [pad for n in reversed(self.out_shape) for pad in (0, 1 - n % 2)])
        x = self.of_eight_bits[0].rounded(x) if self.of_eight_bits else x
        for i, odd in enumerate(self.pieces):
            ends = [n // 2 + 1 if o else m for o, n, m in zip(odd, self.out_shape, self.in_shape, strict=True)]
            part, weight = x[:, :, : ends[0], : ends[1], : ends[2]], getattr(self, f"weight_{i}")
            if self.of_eight_bits:
                piece = self.of_eight_bits[i].of_bytes(part.contiguous(memory_format=torch.channels_last_3d))
            else:
                piece = _convolved(part, weight, self.bias, (0,) * 3, (1,) * 3, (1,) * 3, 1)
            piece = self.after(piece)
            if i == 0:
                y = piece.new_empty(len(x), piece.shape[1], *self.out_shape)
            y[:, :, odd[0] :: 2, odd[1] :: 2, odd[2] :: 2] = piece
        return y


class FastShuffle(nn.Module):
    """`Shuffle` whose points are put in their places last: `after`, pointwise layers and further shuffles, work on the
    coarse points, (B·8, c, n…) with the eight places beside the batch."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, module: Shuffle) -> None:
        super().__init__()
        self.out_shape, self.in_shape, self.after = module.out_shape, module.in_shape, nn.Sequential()
        weight, bias = module.places.weight, cast(torch.Tensor, module.places.bias)
        by_place = weight.flatten(1).unflatten(0, (-1, 8)).transpose(0, 1).flatten(0, 1)
        self.register_buffer("weight", by_place.contiguous())
        self.register_buffer("bias", bias.unflatten(0, (-1, 8)).T.reshape(-1, 1))

    def in_places(self, x: torch.Tensor) -> torch.Tensor:
        """(B, c_in, n…) → (B·8, c_out, n…), the places in the order x, y, z."""
        y = torch.baddbmm(self.bias, self.weight.expand(len(x), -1, -1), x.flatten(2))
        return y.view(8 * len(x), -1, *x.shape[2:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places, out_shape, steps = self.in_places(x), self.out_shape, 1
        for layer in self.after:
            if isinstance(layer, FastShuffle):
                places, out_shape, steps = layer.in_places(places), layer.out_shape, steps + 1
            else:
                places = layer(places)
        apart = 2**steps
        places = places.unflatten(0, (len(x), -1))
        y = x.new_empty(len(x), places.shape[2], *out_shape)
        for k, digits in enumerate(product(product((0, 1), repeat=3), repeat=steps)):
            first = [sum(digit[axis] << (steps - 1 - s) for s, digit in enumerate(digits)) for axis in range(3)]
            nx, ny, nz = (max(0, -(-(n - start) // apart)) for n, start in zip(out_shape, first, strict=True))
            piece = y[:, :, first[0] :: apart, first[1] :: apart, first[2] :: apart]
            piece.copy_(places[:, k, :, :nx, :ny, :nz])
        return y


class Product(nn.Module):
    """The first half of an `Up` to few channels: all weights times all points, (B, c_in, n…) → (B, 27·c_out, n…)."""

    weight: torch.Tensor

    def __init__(self, module: Up) -> None:
        super().__init__()
        self.register_buffer("weight", module.weight.flatten(1).T.contiguous())
        self.of_eight_bits = None
        if hasattr(module, "largest"):
            self.of_eight_bits = Int8Convolution(self.weight[:, :, None, None, None], None, cast(float, module.largest))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.of_eight_bits is not None:
            return self.of_eight_bits(x)
        return torch.matmul(self.weight, x.flatten(2)).unflatten(2, x.shape[2:])


class ShiftedSums(nn.Module):
    """The second half of an `Up` to few channels: (B, 27·c_out, n…) → (B, c_out, 2n…), each product in its place."""

    def __init__(self, module: Up) -> None:
        super().__init__()
        self.out_shape, self.bias = module.out_shape, module.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        terms = x.view(len(x), len(self.bias), 3, 3, 3, *x.shape[2:])
        y = x.new_empty(len(x), len(self.bias), *self.out_shape)
        for odd in product((0, 1), repeat=3):
            size = [(n + 1 - o) // 2 for n, o in zip(self.out_shape, odd, strict=True)]
            piece = self.bias.view(1, -1, 1, 1, 1).repeat(len(x), 1, *size)
            nx, ny, nz = size
            for (i, x0), (j, y0), (k, z0) in product(*(_TAPS[o] for o in odd)):
                term = terms[:, :, i, j, k, x0 : x0 + nx, y0 : y0 + ny, z0 : z0 + nz]
                # a right neighbour that is missing leaves the last points as they are
                piece[:, :, : term.shape[2], : term.shape[3], : term.shape[4]] += term
            y[:, :, odd[0] :: 2, odd[1] :: 2, odd[2] :: 2] = piece
        return y


class FastResize(nn.Module):
    """Trilinear interpolation as two matrix products: one over x, one over the plane of y and z."""

    over_x: torch.Tensor
    over_plane: torch.Tensor

    def __init__(self, module: Resize) -> None:
        super().__init__()
        self.out_shape = module.out_shape
        over_x, over_y, over_z = (_interpolation(n, m) for n, m in zip(module.out_shape, module.in_shape, strict=True))
        self.register_buffer("over_x", over_x)
        self.register_buffer("over_plane", torch.kron(over_y, over_z).T.contiguous())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(self.over_x, torch.matmul(x.flatten(3), self.over_plane)).unflatten(3, self.out_shape[1:])


def _interpolation(n, m):
    """(n, m) matrix of linear interpolation from m points to n, as `Resize` places them."""
    return F.interpolate(torch.eye(m)[None], size=n, mode="linear", align_corners=False)[0].T


# what a sub-pixel convolution can do with each piece
_POINTWISE = (FastGDN, nn.PReLU, nn.ReLU, Product)
_GIVES_ITS_OWN = (
    Convolution,
    Int8Convolution,
    SubPixel,
    ShiftedSums,
    FastRAB,
    FastShuffle,
)  # results that lie in no other's memory
