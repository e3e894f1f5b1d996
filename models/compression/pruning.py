"""Structured pruning: a network with fewer channels, which begins with the weights of a trained one.

The smaller network is one of the zoo, by the same name and with other widths, so that nothing else need know that it
was pruned. Which channels stay is decided by how the loss would change without them, to first order (Molchanov et al.
2019):

    I_c = mean over batches of (Σ w ∂L/∂w)², w the weights of all layers that take channel c

How many stay at each resolution is decided by what they cost: again and again the step that loses the least importance
for each product saved, until as few products are left as asked for (Molchanov et al. 2017).

Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient Inference,
    https://arxiv.org/abs/1611.06440
Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, https://arxiv.org/abs/1906.10771
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import nn

from models import zoo
from models.compression.channels import Channels, channels_of
from models.layers.convolution import Up
from models.layers.gdn import GDN
from models.layers.shuffle import Shuffle
from models.zoo.autoencoder import Autoencoder
from models.zoo.coarsening import Coarsening

_STEPS = 8  # of a width's channels: an eighth goes at a time
_LAYERS = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)
Importance = dict[int, float]  # {channel: what the loss would lose}


class PruningError(ValueError):
    """A network that cannot be pruned, or not so far."""


def network_channels(model: Autoencoder) -> Channels:
    """The channels of a network of the zoo with five halvings.

    Raises
    ------
    PruningError, ChannelError
        if the network is another, or has layers whose channels are not known
    """
    if not isinstance(model, Coarsening) or model.architecture is None:
        name = type(model).__name__ if model.architecture is None else model.architecture["name"]
        raise PruningError(
            f"network {name!r} has no widths to prune; Backbone, ResNeXt, RDB, RAB, GRDN and Tucodec have"
        )
    of = model.mask
    fields, latent = of.new_zeros(1, model.channels, *model.shape), of.new_zeros(1, *model.latent_shape)
    return channels_of(cast(nn.Module, model.encoder), cast(nn.Module, model.decoder), fields, latent)


def importance(
    model: Autoencoder, channels: Channels, losses: Iterable[Callable[[Autoencoder], torch.Tensor]]
) -> Importance:
    """What the loss would lose without each channel.

    Parameters
    ----------
    model : Autoencoder in evaluation mode
    channels : its Channels
    losses : for each batch the loss as a function of the model

    Returns
    -------
    {root of a channel: I_c}, of all channels that some layer takes
    """
    weights = dict(model.named_parameters())
    asked = {axis: (weights[axis[0]], channels.of(axis)) for axis in sorted(channels.taken)}
    sums: dict[int, float] = {}
    for count, loss in enumerate(losses, 1):
        tensors = [weight for weight, _ in asked.values()]
        slopes = torch.autograd.grad(loss(model), tensors, allow_unused=True)
        change: dict[int, float] = {}
        for ((_, axis), (weight, roots)), slope in zip(asked.items(), slopes, strict=True):
            if slope is not None:
                others = [k for k in range(weight.ndim) if k != axis]
                for root, value in zip(roots.tolist(), (weight * slope).sum(others).tolist(), strict=True):
                    change[root] = change.get(root, 0.0) + value
        for root, value in change.items():
            sums[root] = sums.get(root, 0.0) + (value**2 - sums.get(root, 0.0)) / count
    return sums


def pruned(model: Autoencoder, channels: Channels, losses: Importance, **options: Any) -> Autoencoder:
    """The network with other widths, made of a trained one's most important channels.

    Parameters
    ----------
    model, channels : as for `importance`
    losses : Importance
    options : `width`, `decoder_width`, and what else is to be other than the network's own

    Raises
    ------
    PruningError
        if it has wider layers than the trained one, or channels that do not follow from it
    """
    small = _made(model, options)
    kept = _kept(channels, losses, small.state_dict())
    values, before = {}, model.state_dict()
    for name, wanted in small.state_dict().items():
        own = before[name]
        for axis in range(own.ndim):
            if (name, axis) in channels.axes:
                stay = [k for k, root in enumerate(channels.of((name, axis)).tolist()) if root in kept]
                own = own.index_select(axis, torch.tensor(stay, dtype=torch.int64))
        if own.shape != wanted.shape:
            raise PruningError(f"{name} of shape {tuple(own.shape)}, the smaller network has {tuple(wanted.shape)}")
        values[name] = own
    small.load_state_dict(values)
    return small.eval()


def pruned_widths(model: Coarsening, channels: Channels, losses: Importance, part: float) -> dict[str, list[int]]:
    """The widths with which a network keeps a part of its products.

    Inner channels of blocks are taken to shrink as their resolution's width does; `pruned` makes the network itself.

    Parameters
    ----------
    part : of the products of one encoding and one decoding that may be left, in (0, 1]

    Returns
    -------
    {"width": four numbers, "decoder_width": four numbers}

    Raises
    ------
    PruningError
        if so few are not reached with an eighth of the channels everywhere
    """
    first = [*model.widths, *model.decoder_widths]
    stage = _stages(model, channels)
    layers = _costs(model, channels, {root: group for group in stage for root in group})
    falling = {group: sorted((losses.get(root, 0.0) for root in group), reverse=True) for group in stage}

    def judged(widths: list[int]) -> tuple[float, float]:
        """(products, importance lost)"""
        left = {group: max(1, widths[k] * len(group) // first[k]) for group, k in stage.items()}
        part_of = {group: size / len(group) for group, size in left.items()} | {None: 1.0}
        count = sum(cost * math.prod(sum(n * part_of[g] for g, n in axis) for axis in axes) for cost, axes in layers)
        return count, sum(sum(falling[group][size:]) for group, size in left.items())

    now, (whole, _) = list(first), judged(first)
    count, lost = whole, 0.0
    while count > part * whole:
        tries = []
        for k, width in enumerate(first):
            step = max(1, width // _STEPS)
            if now[k] >= 2 * step:
                fewer = [w - step * (n == k) for n, w in enumerate(now)]
                left, gone = judged(fewer)
                tries.append(((gone - lost) / max(count - left, 1.0), left, gone, fewer))
        if not tries:
            raise PruningError(f"an eighth of all channels has {count / whole:.2g} of the products, asked for {part:g}")
        _, count, lost, now = min(tries, key=lambda of: of[0])
    half = len(model.widths)
    return {"width": now[:half], "decoder_width": now[half:]}


def _stages(model, channels):
    """{channels that some layer gives: which of the eight widths, the encoder's first, says how many}."""
    given, found = {}, {}
    for name, axis in sorted(channels.given):
        given[name, axis] = frozenset(channels.of((name, axis)).tolist())
    before = model.state_dict()
    widths = [*model.widths, *model.decoder_widths]
    half = len(model.widths)
    with torch.device("meta"):  # takes no memory, and no time for weights
        for k, width in enumerate(widths):
            if width > 1:
                fewer = [w // 2 if n == k else w for n, w in enumerate(widths)]
                state = _made(model, {"width": fewer[:half], "decoder_width": fewer[half:]}).state_dict()
                for (name, axis), group in given.items():
                    if state[name].shape[axis] < before[name].shape[axis]:
                        found[group] = k
    return found


def _costs(model, channels, group_of):
    """[(products of a layer for each of its channels, [[(group or None, channels of it)] for each axis])]"""
    points = {}

    def note(name):
        def hook(layer, inputs, output):
            # a transposed convolution multiplies each value that it takes, a plain one makes each that it gives
            points[name] = (inputs[0] if isinstance(layer, nn.ConvTranspose3d) else output)[0, 0].numel()

        return hook

    _run(model, {name: note(name) for name, layer in model.named_modules() if isinstance(layer, (*_LAYERS, GDN))})
    weights, costs = dict(model.named_parameters()), []
    for name, count in points.items():
        key = f"{name}.weight" if f"{name}.weight" in weights else f"{name}.raw_gamma"
        axes = []
        for axis in range(weights[key].ndim):
            if (key, axis) in channels.axes:
                axes.append(list(Counter(group_of.get(r) for r in channels.of((key, axis)).tolist()).items()))
            else:
                count *= weights[key].shape[axis]
        costs.append((count, axes))
    return costs


def products(model: Autoencoder) -> int:
    """Multiplications of convolutions, dense layers and GDN's sums in one encoding and one decoding."""
    count = 0

    def add(layer, inputs, output):
        nonlocal count
        points = inputs[0] if isinstance(layer, nn.ConvTranspose3d) else output
        weight = layer.raw_gamma if isinstance(layer, GDN) else layer.weight
        count += points[0, 0].numel() * weight.numel()

    _run(model, {name: add for name, layer in model.named_modules() if isinstance(layer, (*_LAYERS, GDN))})
    return count


def _run(model, hooks):
    """One encoding and decoding with hooks, {name of a layer: hook}."""
    layers = dict(model.named_modules())
    handles = [layers[name].register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        with torch.no_grad():
            model(model.mask.new_zeros(1, model.channels, *model.shape))
    finally:
        for handle in handles:
            handle.remove()


def with_shuffles(model: Autoencoder) -> Autoencoder:
    """The network with shuffles in place of transposed convolutions, alike where features do not change along the grid.

    Even results of a transposed convolution see one point, odd ones two: their weights are added up.

    Raises
    ------
    PruningError
        if the network cannot have shuffles
    """
    made = _made(model, {"upsampling": "shuffle"})
    before, values = dict(model.named_modules()), {**model.state_dict()}
    for name, layer in made.named_modules():
        if isinstance(layer, Shuffle):
            up = before.get(name)
            if not isinstance(up, Up):
                continue  # a shuffle already
            # of weights 0, 1, 2 along an axis: even results have the middle one, odd ones the others
            tap = up.weight.new_tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
            places = torch.einsum("ioxyz,ax,by,cz->oabci", up.weight.detach(), tap, tap, tap)
            del values[f"{name}.weight"], values[f"{name}.bias"]
            values[f"{name}.places.weight"] = places.reshape(8 * up.out_channels, up.in_channels, 1, 1, 1)
            values[f"{name}.places.bias"] = up.bias.detach().repeat_interleave(8)
    made.load_state_dict(values)
    return made.eval()


def _kept(channels, losses, sizes):
    """Roots of the channels that stay where layers give fewer; sizes : {name: tensor} of the smaller network."""
    layers = [*_layers(channels, sizes)]
    # what no layer gives stays: variables and numbers of the latent
    kept = {root for axis in channels.axes for root in channels.of(axis).tolist()}
    kept -= {root for roots, _ in layers for root in roots}
    for roots, count in layers:
        kept.update(sorted(roots, key=lambda root: -losses.get(root, 0.0))[:count])
    return kept


def _lost(channels, losses, sizes):
    """Importance of all channels that go."""
    gone: dict[int, float] = {}
    for roots, count in _layers(channels, sizes):
        gone |= {root: losses.get(root, 0.0) for root in sorted(roots, key=lambda root: -losses.get(root, 0.0))[count:]}
    return sum(gone.values())


def _layers(channels, sizes):
    """(roots, how many of them stay) of what each layer gives."""
    for name, axis in sorted(channels.given):
        every = channels.of((name, axis))
        roots = list(dict.fromkeys(every.tolist()))
        yield roots, sizes[name].shape[axis] * len(roots) // len(every)


def _made(model, options):
    about = model.architecture
    mask = None if torch.get_default_device().type == "meta" else model.mask
    try:
        made = zoo.make(about["name"], model.channels, model.shape, mask=mask, **{**about["options"], **options})
    except ValueError as error:
        raise PruningError(str(error)) from error
    return made.to(model.mask.dtype).eval()


def _named(widths):
    return {"width": list(widths[0]), "decoder_width": list(widths[1])}
