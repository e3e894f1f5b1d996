"""Networks in one safetensors file: weights, and in its header what they are and what they were made from.

Tensors are those of the network's `state_dict`, the mask among them, and what else belongs to the network (scales,
codes of the training states), with "data." before its name. The header holds JSON:

    name, channels, shape, options   what :func:`models.zoo.make` needs to build the network
    n_latent, precision, mask        numbers in the latent, of the weights, SHA-256 of the mask
    code                             versions of this code and of torch
    …                                what the caller says: box, variables, scaling, period, fingerprint of the data

Nothing in a file is ever run: weights are numbers, and a network of a user's own, which is code, is only built if
the caller names it.
"""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from coupling.common.files import whole_file
from coupling.common.headers import header_differences, short
from models import zoo

FORMAT, VERSION = "autoencoder", "1"
_OURS = ("name", "channels", "shape", "options", "n_latent", "precision", "mask", "code")
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
_DATA = "data."  # before the names of arrays that are no weights


class ModelFileError(ValueError):
    """A file that holds no network, or another than was asked for; the message says in what it differs."""


def save(path, model, metadata, arrays=None):
    """Write a network, whole or not at all: an older file stays until the new one is on the disk.

    Parameters
    ----------
    path : the file, by custom *.safetensors
    model : Autoencoder from :func:`models.zoo.make`
    metadata : dict of what JSON can hold
    arrays : {name: ndarray or tensor} to keep beside the weights

    Raises
    ------
    ValueError
        if the network was not made by name, metadata uses a name of the header's own, or a weight one of the arrays'
    OSError
        if the file cannot be written
    """
    if model.architecture is None:
        raise ValueError(f"{type(model).__name__} does not say how to make it anew; make it by models.zoo.make")
    taken = [key for key in metadata if key in _OURS]
    if taken:
        raise ValueError(f"metadata {taken[0]!r} is a name of the file's own; choose another")
    weights = model.state_dict()
    taken = [key for key in weights if key.startswith(_DATA)]
    if taken:
        raise ValueError(f"weight {taken[0]!r}: names that begin with {_DATA!r} are the file's own; name it otherwise")
    beside = {_DATA + name: _as_tensor(values) for name, values in (arrays or {}).items()}
    # deep copies: weights may share memory or lie in another order than safetensors takes
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in (weights | beside).items()}
    about = {
        **metadata,
        **model.architecture,
        "n_latent": model.n_latent,
        "precision": str(model.mask.dtype).removeprefix("torch."),
        "mask": mask_hash(model.mask),
        "code": {"fluidity-da": _code_version(), "torch": torch.__version__},
    }
    header = {"format": FORMAT, "version": VERSION, "about": json.dumps(about)}
    with whole_file(Path(path)) as beside:
        save_file(tensors, beside, header)


def load(path, expected=None):
    """Read a network.

    Parameters
    ----------
    path : the file
    expected : {item: value} that the header must hold; items that are not named may be anything. `mask` may be the
        mask itself or its hash. A user's own network is only loaded if `name` is expected to be it

    Returns
    -------
    model : Autoencoder, in evaluation mode, on the CPU
    about : dict, the header

    Raises
    ------
    ModelFileError
        if there is no such file, it is damaged, or an item is not as expected: the message says which, what was
        found and what was expected
    """
    about = read_about(path)
    expected = dict(expected or {})
    if not isinstance(expected.get("mask", ""), str):
        expected["mask"] = mask_hash(expected["mask"])
    _compare(about, expected, path)
    if zoo.is_own(about["name"]) and "name" not in expected:
        raise ModelFileError(
            f"{path}: holds a network of a user's own, {about['name']!r}, whose code would be imported; "
            "name it in the expected items if that is meant"
        )
    try:
        model = zoo.make(about["name"], about["channels"], about["shape"], **about["options"])
        model = model.to(_PRECISIONS[about["precision"]])
        with safe_open(path, "pt") as file:
            keys = [key for key in file.keys() if not key.startswith(_DATA)]  # noqa: SIM118, it is no dict
            tensors = {key: file.get_tensor(key) for key in keys}
        broken = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
        if broken:
            raise ModelFileError(f"{path}: {broken[0]} holds values that are no numbers; train it anew")
        model.load_state_dict(tensors)
    except ModelFileError:
        raise
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path}: does not hold a {about['name']}: {short(str(error))}") from error
    if mask_hash(model.mask) != about["mask"]:
        raise ModelFileError(f"{path}: the mask is not the one its header tells; train it anew")
    return model.eval(), about


def load_arrays(path, names=None):
    """What a file keeps beside the weights.

    Parameters
    ----------
    path : the file
    names : of the arrays wanted; None for all

    Returns
    -------
    {name: ndarray}

    Raises
    ------
    ModelFileError
        if it is no file of a network, or has no such array
    """
    read_about(path)
    with safe_open(path, "np") as file:
        there = [key.removeprefix(_DATA) for key in file.keys() if key.startswith(_DATA)]  # noqa: SIM118
        missing = sorted(set(names or ()) - set(there))
        if missing:
            raise ModelFileError(f"{path}: does not hold {missing[0]}; train it anew")
        return {name: file.get_tensor(_DATA + name) for name in (there if names is None else names)}


def read_about(path):
    """The header of a file, as a dict.

    Raises
    ------
    ModelFileError
        if there is no such file, or it is no file of a network
    """
    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file ({error}); train it anew") from None
    if header.get("format") != FORMAT:
        raise ModelFileError(f"{path}: a safetensors file, but none of an autoencoder; choose another name for these")
    if header.get("version") != VERSION:
        raise ModelFileError(f"{path}: version {header.get('version')}, expected {VERSION}; train it anew")
    try:
        about = json.loads(header["about"])
        missing = [key for key in _OURS if key not in about]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: is damaged: {error}; train it anew") from None
    if missing:
        raise ModelFileError(f"{path}: does not say {missing[0]}; train it anew")
    return about


def _as_tensor(values):
    return values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values, order="C"))


def mask_hash(mask):
    """SHA-256 of a mask, (nx, ny, nz) of ones and zeros of any type, and of its shape."""
    values = np.ascontiguousarray(torch.as_tensor(mask).detach().cpu().float().numpy() > 0, np.uint8)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def _compare(found, expected, path):
    for item, had, wanted in header_differences(found, expected):
        if had is None:
            raise ModelFileError(f"{path}: does not say {item}, expected {wanted}; train it anew")
        raise ModelFileError(
            f"{path}: the network was made with another {item}: {had}, expected {wanted}; "
            "train one for this case, or name another file"
        )


def _code_version():
    try:
        return version("fluidity-da")
    except PackageNotFoundError:
        return "not installed"
