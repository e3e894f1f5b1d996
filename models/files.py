"""Networks in one safetensors file: weights, and in its header what they are and what they were made from.

Tensors are those of the network's `state_dict`, the mask among them, and what else belongs to the network (scales,
codes of the training states), with "data." before its name. Weights of eight bits have their steps beside them, with
"step." before the name. The header holds JSON:

    name, channels, shape, options   what :func:`models.zoo.make` needs to build the network
    n_latent, precision, mask        numbers in the latent, of the weights, SHA-256 of the mask
    code                             versions of this code and of torch
    …                                what the caller says: box, variables, scaling, period, fingerprint of the data

Nothing in a file is ever run: weights are numbers, and a network of a user's own, which is code, is only built if
the caller names it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from coupling.common.files import whole_file
from coupling.common.headers import header_differences, short
from models import zoo
from models.int8 import quantised, weight_axes
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder

FORMAT, VERSION, OF_EIGHT_BITS = "autoencoder", "1", "2"  # what reads the former alone must not read the latter
_FORMS = {"name": str, "channels": int, "shape": list, "options": dict, "precision": str, "mask": str}
_OURS = ("name", "channels", "shape", "options", "n_latent", "precision", "mask", "code")
_PRECISIONS = {name: getattr(torch, name) for name in ("float32", "float64", "bfloat16", "float16")}
_DATA = "data."  # before the names of arrays that are no weights
_STEP = "step."  # before the names of what weights of eight bits are multiplied with
AUTOENCODER, OBSERVATION_ENCODER, TRAINING_STATE = "an autoencoder", "an observation encoder", "the state of a training"
_ADVICE = {TRAINING_STATE: "go on with that training, and name the file of the network that it writes"}
BEST = "best."  # before the names of a training's best weights so far, which no network's file has


class ModelFileError(ValueError):
    """A file that holds no network, or another than was asked for; the message says in what it differs."""


def save(
    path: str | Path,
    model: Autoencoder | ObservationEncoder,
    metadata: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray | torch.Tensor] | None = None,
    eight_bits: bool = False,
) -> None:
    """Write a network. The file appears complete or not at all: an older one stays until the new one is on the disk.

    Parameters
    ----------
    path : the file, usually *.safetensors
    model : Autoencoder from :func:`models.zoo.make`
    metadata : dict of what JSON can hold
    arrays : {name: array or tensor} to keep beside the weights
    eight_bits : round the weights of convolutions to eight bits (:mod:`models.int8`); what is read is what is left

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
    for own in (_DATA, _STEP):
        taken = [key for key in weights if key.startswith(own)]
        if taken:
            raise ValueError(
                f"weight {taken[0]!r}: names that begin with {own!r} are the file's own; name it otherwise"
            )
    for key, axis in weight_axes(model).items() if eight_bits else ():
        weights[key], weights[_STEP + key] = quantised(weights[key], axis)
    data = {_DATA + name: _as_tensor(values) for name, values in (arrays or {}).items()}
    # deep copies: weights may share memory or lie in another order than safetensors takes
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in (weights | data).items()}
    about = {
        **metadata,
        **model.architecture,
        "n_latent": model.n_latent,
        "precision": str(model.mask.dtype).removeprefix("torch."),
        "mask": mask_hash(model.mask),
        "code": {"fluidity-da": _code_version(), "torch": torch.__version__},
    }
    header = {"format": FORMAT, "version": OF_EIGHT_BITS if eight_bits else VERSION, "about": json.dumps(about)}
    with whole_file(Path(path)) as beside:
        save_file(tensors, beside, header)


def load(
    path: str | Path, expected: Mapping[str, Any] | None = None, kind: str | None = None
) -> tuple[Any, dict[str, Any]]:
    """Read a network.

    Parameters
    ----------
    path : the file
    expected : {item: value} that the header must hold; items that are not named may be anything. `mask` may be the
        mask itself or its hash. A user's own network is only loaded if `name` is expected to be it
    kind : AUTOENCODER, OBSERVATION_ENCODER or TRAINING_STATE; None takes any of them

    Returns
    -------
    model : Autoencoder or ObservationEncoder, in evaluation mode, on the CPU
    about : dict, the header

    Raises
    ------
    ModelFileError
        if there is no such file, it is damaged or of another kind, or an item is not as expected: the message says
        which, what was found and what was expected
    """
    about, holds = _header(path)
    if kind not in (None, holds):
        raise ModelFileError(f"{path}: holds {holds}, expected {kind}; {_ADVICE.get(holds, 'name another file')}")
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
        with safe_open(path, "pt") as file:
            keys = [key for key in file.keys() if not key.startswith(_DATA)]  # noqa: SIM118, it is no dict
            tensors = _dequantised({key: file.get_tensor(key) for key in keys})
        broken = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
        if broken:
            raise ModelFileError(f"{path}: {broken[0]} holds values that are no numbers; train it anew")
        if not zoo.is_own(about["name"]):
            with torch.device("meta"):  # takes no memory, whatever sizes the header claims
                _made(about).load_state_dict({key: value.to("meta") for key, value in tensors.items()})
        model = _made(about).to(_PRECISIONS[about["precision"]])
        model.load_state_dict(tensors)
    except ModelFileError:
        raise
    except (
        SafetensorError, OSError, RuntimeError, MemoryError, TypeError, AttributeError, LookupError, ArithmeticError,
        ValueError,
    ) as error:  # fmt: skip
        raise ModelFileError(f"{path}: does not hold a {about['name']}: {short(str(error))}") from error
    if mask_hash(model.mask) != about["mask"]:
        raise ModelFileError(f"{path}: the mask is not the one that its header names; train it anew")
    return model.eval(), about


def _dequantised(tensors):
    """Weights as floats: those of eight bits times their steps."""
    made = {key: value for key, value in tensors.items() if not key.startswith(_STEP)}
    for key, step in tensors.items():
        if key.startswith(_STEP):
            whole = made.get(key.removeprefix(_STEP))
            # steps of another shape might claim any amount of memory
            if whole is None or whole.ndim != step.ndim or any(
                n not in (1, m) for n, m in zip(step.shape, whole.shape, strict=True)
            ):  # fmt: skip
                raise ValueError(f"{key} fits no weight")
            made[key.removeprefix(_STEP)] = whole.to(step.dtype) * step
    return made


def _made(about):
    return zoo.make(about["name"], about["channels"], about["shape"], **about["options"])


def load_arrays(
    path: str | Path,
    names: Sequence[str] | None = None,
    shapes: Mapping[str, tuple[int | None, ...]] | None = None,
) -> dict[str, np.ndarray]:
    """What a file keeps beside the weights; bfloat16, which numpy lacks, as float32.

    Parameters
    ----------
    path : the file
    names : of the arrays wanted; None for all
    shapes : {name: shape} that arrays must have, None for a length that may be any

    Returns
    -------
    {name: array}

    Raises
    ------
    ModelFileError
        if it is no file of a network, or has no such array, or one of another shape
    """
    read_about(path)
    with safe_open(path, "pt") as file:
        there = [key.removeprefix(_DATA) for key in file.keys() if key.startswith(_DATA)]  # noqa: SIM118
        missing = sorted(set(names or ()) - set(there))
        if missing:
            raise ModelFileError(f"{path}: does not hold {missing[0]}; train it anew")
        arrays = {name: _as_array(file.get_tensor(_DATA + name)) for name in (there if names is None else names)}
    for name, wanted in (shapes or {}).items():
        shape = arrays[name].shape
        if len(shape) != len(wanted) or any(n not in (None, m) for n, m in zip(wanted, shape, strict=True)):
            text = ", ".join("any" if n is None else str(n) for n in wanted)
            raise ModelFileError(f"{path}: {name} of shape {list(shape)}, expected [{text}]; train it anew")
    return arrays


def read_about(path: str | Path) -> dict[str, Any]:
    """The header of a file.

    Raises
    ------
    ModelFileError
        if there is no such file, or it is no file of a network
    """
    return _header(path)[0]


def _header(path):
    """What a file says of itself, and which kind of file it is."""
    if Path(path).is_dir():
        raise ModelFileError(f"{path}: is a folder, expected the file of a network")
    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            keys = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file ({error}); train it anew") from None
    if header.get("format") != FORMAT:
        raise ModelFileError(f"{path}: a safetensors file, but none of an autoencoder; choose another name for these")
    if header.get("version") not in (VERSION, OF_EIGHT_BITS):
        raise ModelFileError(
            f"{path}: version {header.get('version')}, expected {VERSION} or {OF_EIGHT_BITS}; train it anew"
        )
    try:
        about = json.loads(header["about"])
        missing = [key for key in _OURS if key not in about]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: is damaged: {error}; train it anew") from None
    if missing:
        raise ModelFileError(f"{path}: does not say {missing[0]}; train it anew")
    for key, form in _FORMS.items():
        if not isinstance(about[key], form):
            raise ModelFileError(f"{path}: is damaged: its {key} is {short(json.dumps(about[key]))}; train it anew")
    return about, _kind(about, keys)


def _kind(about, keys):
    if any(key.startswith(_DATA + BEST) for key in keys):
        return TRAINING_STATE
    return OBSERVATION_ENCODER if "observations" in about["options"] else AUTOENCODER


def _as_tensor(values):
    return values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values, order="C"))


def _as_array(tensor):
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def mask_hash(mask: np.ndarray | torch.Tensor) -> str:
    """SHA-256 of a mask, (nx, ny, nz) of ones and zeros of any type, and of its shape."""
    values = np.ascontiguousarray(torch.as_tensor(mask).detach().cpu().float().numpy() > 0, np.uint8)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()


def _compare(about, expected, path):
    for item, had, wanted in header_differences(about, expected):
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
