"""Networks by name: those of Mack et al. 2020, Table 1, their variants, and a user's own.

    make("Tucodec-NeXt", 1, (91, 85, 32))
    make("Tucodec-NeXt+CBAM", 4, shape, activation="ReLU", mask=fluid)
    make("mypackage.networks:my_autoencoder", 4, shape)      # any torch module with encode and decode

A search over networks is a list of such names and options.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn

from models.names.nearest import unknown
from models.zoo.autoencoder import Autoencoder, Mask, Wrapped, as_mask
from models.zoo.coarsening import Width
from models.zoo.code_variance import CodeVariance
from models.zoo.grammar import NAMES, PCA_NAMES, spell
from models.zoo.identity import Identity
from models.zoo.linear import Linear
from models.zoo.observation_encoder import ObservationEncoder

__all__ = ["ENTRY_POINTS", "NAMES", "PCA_NAMES", "is_own", "make"]

ENTRY_POINTS = "fluidity_da.autoencoders"
_PLAIN = {"Linear": Linear, "Identity": Identity}


def make(
    name: str,
    channels: int,
    shape: Sequence[int],
    *,
    n_latent: int | None = None,
    width: Width | None = None,
    activation: str | None = None,
    block: str | None = None,
    mask: Mask = None,
    seed: int = 0,
    variational: bool = False,
    observations: Mapping[str, Any] | None = None,
    **extra: Any,
) -> Any:
    """A network by its name, with new weights.

    Parameters
    ----------
    name : one of `NAMES` or `PCA_NAMES`, a variant (:mod:`models.zoo.grammar`), "Linear", "Identity", an entry point of
        the group "fluidity_da.autoencoders", or "package.module:function" of a user's own. A user's function or class
        is called with (channels, shape) and those options below that are not None; it gives an `Autoencoder`, or any
        nn.Module with `encode` and `decode`, whose latent may have any shape and which need not know the mask
    channels : variables at a grid point
    shape : (nx, ny, nz), any grid; networks with five halvings need one side of 17 points
    n_latent : numbers in the latent vector; None for the network's own, 64 for each point of the coarsest grid
    width : channels of features, of some networks also four numbers, one for each resolution, finest first; None for
        the network's own
    activation : "PReLU", "ReLU" or "GDN"; None for the name's, or PReLU
    block : "vanilla", "NeXt", "Factorised", "Separable" or "Inception", with "+CBAM" or without; None for the name's
    mask : (nx, ny, nz), 1 for fluid points, 0 for solid; None for fluid only
    seed : of the weights; the same seed gives the same network, and leaves torch's own generator as it was
    variational : whether its codes have variances, for the objective `vae`
    observations : options of an ObservationEncoder, for that of the network in place of itself; None for the network
    extra : further options of one network, such as `decoder_width` and `upsampling` of all but PCA-…, `blocks` and
        `overlap`, or `windows`, of PCA-…

    Returns
    -------
    Autoencoder, or ObservationEncoder

    Raises
    ------
    ValueError
        if there is no such name (the message names the nearest), the grid is too small, or an option does not fit
    """
    given = {"n_latent": n_latent, "width": width, "activation": activation, "block": block, **extra}
    given = {key: value for key, value in given.items() if value is not None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build = _make_own if is_own(name) else _make
        model = build(name, channels, shape, given, mask)
        if variational:
            model.variance, given = CodeVariance(model.n_latent), {**given, "variational": True}
    model.architecture = {"name": name, "channels": model.channels, "shape": list(model.shape), "options": given}
    return model if observations is None else ObservationEncoder(model, **observations)


def is_own(name: str) -> bool:
    """Whether a name stands for a user's own network: a dotted path or an entry point."""
    return ":" in name or name in _entry_points()


def _entry_points():
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _make(name, channels, shape, given, mask):
    if name in _PLAIN:
        return _call(_PLAIN[name], name, channels, shape, given | {"mask": mask})
    spelled = spell(name)
    if "block" in given and not spelled.blocks:
        raise ValueError(f"network {name!r} has no residual blocks, but block = {given['block']!r} was given")
    return _call(spelled.build, name, channels, shape, spelled.options | given | {"mask": mask})


def _make_own(name, channels, shape, given, mask):
    model = _call(_own(name), name, channels, shape, given)
    if isinstance(model, Autoencoder):
        if mask is not None:
            model.mask = as_mask(mask, model.shape)
        return model
    if not (isinstance(model, nn.Module) and callable(getattr(model, "encode", None)) and hasattr(model, "decode")):
        raise ValueError(f"{name!r} gives {type(model).__name__}, expected a torch.nn.Module with encode and decode")
    return Wrapped(model, channels, shape, mask)


def _own(name):
    if name in _entry_points():
        return _entry_points()[name].load()
    module, _, attribute = name.partition(":")
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"network {name!r}: cannot import {module!r}: {error}") from error
    if not hasattr(loaded, attribute):
        known = [each for each in vars(loaded) if not each.startswith("_")]
        raise unknown(f"network {name!r}: {module} has no such function,", attribute, known)
    return getattr(loaded, attribute)


def _call(build, name, channels, shape, options):
    known = inspect.signature(build).parameters
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
        for key in options:
            if key not in known:
                choices = [k for k in known if k not in ("channels", "shape", "mask", "self")]
                raise unknown(f"option of network {name!r}", key, choices)
    try:
        return build(channels, shape, **options)
    except TypeError as error:
        raise ValueError(f"network {name!r} cannot be made with options {list(options)}: {error}") from error
