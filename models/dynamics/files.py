"""Learned dynamics in one safetensors file: a linear model, or a network about one, and in its header what it is.

The header holds JSON: `kind`, `n_codes`, `hidden` (0 for a linear model) and what the caller says, such as the time
step and the codec. Nothing in a file is ever run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from coupling.common.files import whole_file
from coupling.common.headers import header_differences
from models.dynamics.linear import LinearDynamics
from models.dynamics.network import NETWORKS, NetworkDynamics
from models.files import ModelFileError

FORMAT, VERSION, LINEAR = "dynamics", "1", "linear"
_NOISE = "noise"


def save_dynamics(path: str | Path, dynamics: LinearDynamics | NetworkDynamics, about: Mapping[str, Any]) -> None:
    """Write a model. The file appears complete or not at all.

    Parameters
    ----------
    path : the file, usually *.safetensors
    dynamics : LinearDynamics or NetworkDynamics
    about : dict of what JSON can hold; `kind`, `n_codes` and `hidden` are the file's own

    Raises
    ------
    ValueError
        if `about` has one of these
    OSError
        if the file cannot be written
    """
    taken = {"kind", "n_codes", "hidden"} & set(about)
    if taken:
        raise ValueError(f"metadata {min(taken)!r} is a name of the file's own; choose another")
    if isinstance(dynamics, LinearDynamics):
        own = {"kind": LINEAR, "n_codes": len(dynamics.centre), "hidden": 0}
        tensors = {"matrix": torch.as_tensor(dynamics.matrix), "centre": torch.as_tensor(dynamics.centre)}
    else:
        module = dynamics.module
        kind = next(name for name, of in NETWORKS.items() if type(module) is of)
        own = {"kind": kind, "n_codes": module.n_codes, "hidden": _hidden(module.state_dict(), kind)}
        tensors = module.state_dict()
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    tensors[_NOISE] = torch.as_tensor(np.array(dynamics.noise))
    header = {"format": FORMAT, "version": VERSION, "about": json.dumps({**about, **own})}
    with whole_file(Path(path)) as beside:
        save_file(tensors, beside, header)


def load_dynamics(
    path: str | Path, expected: Mapping[str, Any] | None = None
) -> tuple[LinearDynamics | NetworkDynamics, dict[str, Any]]:
    """Read a model.

    Parameters
    ----------
    path : the file
    expected : {item: value} that the header must hold

    Returns
    -------
    the model, and the header

    Raises
    ------
    ModelFileError
        if there is no such file, it is damaged or of another kind, or an item is not as expected
    """
    if not Path(path).is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: not a whole safetensors file ({error}); train it anew") from None
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        found = f"{header.get('format')} {header.get('version')}"
        raise ModelFileError(f"{path}: holds {found}, expected {FORMAT} {VERSION}; name another file")
    try:
        about = json.loads(header["about"])
        kind, n_codes, hidden = about["kind"], int(about["n_codes"]), int(about["hidden"])
        for item, had, wanted in header_differences(about, dict(expected or {})):
            raise ModelFileError(f"{path}: dynamics of another {item}: {had}, expected {wanted}; train them anew")
        noise = tensors.pop(_NOISE).numpy()
        broken = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
        if broken or not np.isfinite(noise).all() or noise.shape != (n_codes, n_codes):
            raise ModelFileError(f"{path}: {(broken or [_NOISE])[0]} is damaged; train it anew")
        linear = LinearDynamics(tensors["matrix"].numpy(), tensors["centre"].numpy(), noise)
        if linear.matrix.shape != (n_codes, n_codes) or linear.centre.shape != (n_codes,):
            raise ModelFileError(f"{path}: its matrix is not one of {n_codes} codes; train it anew")
        if kind == LINEAR:
            return linear, about
        if kind not in NETWORKS or _hidden(tensors, kind) != hidden:
            raise ModelFileError(f"{path}: holds no dynamics {kind!r} of {hidden} hidden numbers; train it anew")
        module = NETWORKS[kind](linear, np.ones(n_codes), hidden)
        module.load_state_dict(tensors)
    except ModelFileError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(f"{path}: is damaged: {error}; train it anew") from error
    return NetworkDynamics(module.eval().requires_grad_(False), noise), about


def _hidden(tensors: Mapping[str, torch.Tensor], kind: str) -> int:
    """Of the layer that codes enter; the memory of a recurrent unit."""
    return tensors["layers.0.weight"].shape[0] if kind == "residual" else tensors["layers.0.weight_hh"].shape[1]
