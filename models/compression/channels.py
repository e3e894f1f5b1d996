"""Which axes of a network's weights are the same channels: one layer gives them, norms and other layers take them.

A forward pass is watched. Each channel of each layer's result gets a number of its own; where features are added or
multiplied, channels become one (Fang et al. 2023). Axes of weights are then lists of channels, and a channel can only
be taken away from all of its axes together.

Fang et al. 2023, DepGraph: Towards Any Structural Pruning, https://arxiv.org/abs/2301.12900
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from models.layers.convolution import Up
from models.layers.gdn import GDN
from models.layers.shuffle import Shuffle

_REDUCTIONS = {"mean", "amax", "amin", "sum"}
_SPLITS = {"split", "chunk", "tensor_split"}
_JOINS = {"cat", "concat", "concatenate"}
PLACES = 8  # of a shuffle's channel


class ChannelError(ValueError):
    """A network whose channels cannot be followed."""


@dataclass
class Channels:
    """The channels of a network's weights.

    axes : {(name of a weight or buffer, axis): (n,) numbers of channels}
    taken : axes of weights that multiply channels: those of convolutions and dense layers that take them
    given : names of axes whose channels a layer makes
    """

    axes: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    taken: set[tuple[str, int]] = field(default_factory=set)
    given: set[tuple[str, int]] = field(default_factory=set)
    _same: list[int] = field(default_factory=list)

    def new(self, count: int) -> np.ndarray:
        """(count,) channels that are no others."""
        first = len(self._same)
        self._same += range(first, first + count)
        return np.arange(first, first + count)

    def roots(self, channels: np.ndarray) -> np.ndarray:
        """One number for all channels that are the same."""
        return np.array([self._root(int(c)) for c in channels], np.int64)

    def of(self, axis: tuple[str, int]) -> np.ndarray:
        """`roots` of an axis."""
        return self.roots(self.axes[axis])

    def unite(self, these: np.ndarray, those: np.ndarray) -> None:
        """Make channels the same, one by one."""
        for a, b in zip(these, those, strict=True):
            self._same[self._root(int(b))] = self._root(int(a))

    def _root(self, channel: int) -> int:
        while self._same[channel] != channel:
            self._same[channel] = self._same[self._same[channel]]
            channel = self._same[channel]
        return channel


def channels_of(encoder: nn.Module, decoder: nn.Module, fields: torch.Tensor, latent: torch.Tensor) -> Channels:
    """Follow the channels of an autoencoder's two modules; names begin with "encoder." and "decoder.".

    Parameters
    ----------
    encoder, decoder : in evaluation mode
    fields, latent : what each is given, (1, C, nx, ny, nz) and (1, c, n…)

    Raises
    ------
    ChannelError
        if a layer is of a kind that is not known here
    """
    found = Channels()
    for prefix, module, given in (("encoder", encoder, fields), ("decoder", decoder, latent)):
        watch = _Watch(found)
        hooks = []
        for name, layer in module.named_modules(prefix=prefix):
            kind = next((of for of in _KINDS if isinstance(layer, of)), None)
            if kind is not None:
                hooks.append(layer.register_forward_hook(_hook(watch, name, _KINDS[kind])))
            elif any(True for _ in layer.parameters(recurse=False)):
                raise ChannelError(f"{name} is a {type(layer).__name__}, whose channels are not known here")
        try:
            watch.labels[given] = found.new(given.shape[1])
            with torch.no_grad(), watch:
                module(given)
        finally:
            for hook in hooks:
                hook.remove()
    return found


class _Watch(TorchFunctionMode):
    """Passes channels on through functions without weights."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.channels, self.labels = channels, WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        known = [t for t in _tensors((args, kwargs)) if t in self.labels]
        if not known:
            return out
        if name in _JOINS:
            parts, axis = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
            if axis == 1:
                self.labels[out] = np.concatenate([self._of(part) for part in parts])
        elif name in _SPLITS:
            starts = np.cumsum([0, *(part.shape[1] for part in out)])
            for part, first, end in zip(out, starts, starts[1:], strict=False):
                self.labels[part] = self.labels[known[0]][first:end]
        elif (
            isinstance(out, torch.Tensor)
            and out.ndim > 1
            and not (name in _REDUCTIONS and _over_channels(args, kwargs))
        ):
            fitting = [t for t in known if len(self.labels[t]) == out.shape[1]]
            for other in fitting[1:]:
                self.channels.unite(self.labels[fitting[0]], self.labels[other])
            if fitting:
                self.labels[out] = self.labels[fitting[0]]
        return out

    def _of(self, tensor):
        return self.labels[tensor] if tensor in self.labels else self.channels.new(tensor.shape[1])


def _tensors(nested):
    if isinstance(nested, torch.Tensor):
        return [nested]
    if isinstance(nested, dict):
        return _tensors(list(nested.values()))
    return [t for each in nested for t in _tensors(each)] if isinstance(nested, (tuple, list)) else []


def _over_channels(args, kwargs):
    axes = args[1] if len(args) > 1 else kwargs.get("dim")
    return axes is None or 1 in (axes if isinstance(axes, (tuple, list)) else (axes,))


def _hook(watch, name, of_layer):
    def hook(layer, inputs, output):
        x = inputs[0]
        if x not in watch.labels:  # such as the maps of a spatial gate: made of all channels, none of them its own
            watch.labels[x] = watch.channels.new(x.shape[1])
        watch.labels[output] = of_layer(watch.channels, layer, name, watch.labels[x])

    return hook


def _convolution(channels, layer, name, taken):
    if layer.groups > 1:
        if not layer.groups == layer.in_channels == layer.out_channels:
            raise ChannelError(f"{name} has {layer.groups} groups of channels, expected one, or one for each channel")
        return _along(channels, layer, name, taken)
    made = channels.new(layer.out_channels)
    first, second = (taken, made) if isinstance(layer, nn.ConvTranspose3d) else (made, taken)
    channels.axes[f"{name}.weight", 0], channels.axes[f"{name}.weight", 1] = first, second
    channels.taken.add((f"{name}.weight", 0 if first is taken else 1))
    channels.given.add((f"{name}.weight", 0 if first is made else 1))
    if layer.bias is not None:
        channels.axes[f"{name}.bias", 0] = made
    return made


def _dense(channels, layer, name, taken):
    made = channels.new(layer.out_features)
    channels.axes[f"{name}.weight", 0], channels.axes[f"{name}.weight", 1] = made, taken
    channels.taken.add((f"{name}.weight", 1))
    channels.given.add((f"{name}.weight", 0))
    if layer.bias is not None:
        channels.axes[f"{name}.bias", 0] = made
    return made


def _along(channels, layer, name, taken):
    """A layer that does with each channel the same: its weights' first axes are the channels."""
    for own, values in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
        if values.ndim:
            channels.axes[f"{name}.{own}", 0] = taken
    return taken


def _gdn(channels, layer, name, taken):
    channels.axes[f"{name}.raw_beta", 0] = taken
    channels.axes[f"{name}.raw_gamma", 0] = channels.axes[f"{name}.raw_gamma", 1] = taken
    return taken


def _shuffle(channels, layer, name, taken):
    made = channels.new(layer.out_channels)
    repeated = np.repeat(made, PLACES)
    for own in ("weight", "bias"):
        channels.axes[f"{name}.places.{own}", 0] = repeated
    channels.axes[f"{name}.places.weight", 1] = taken
    return made


# what a layer does with channels, by its class; the more special ones first
_KINDS: dict[type[nn.Module], Callable[[Channels, Any, str, np.ndarray], np.ndarray]] = {
    Shuffle: _shuffle,
    GDN: _gdn,
    Up: _convolution,
    nn.ConvTranspose3d: _convolution,
    nn.Conv3d: _convolution,
    nn.BatchNorm3d: _along,
    nn.PReLU: _along,
    nn.Linear: _dense,
}
