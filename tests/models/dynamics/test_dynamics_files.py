"""Learned dynamics in files: they come back as they were; what is damaged, or other than asked for, is told."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from models.dynamics.files import load_dynamics, save_dynamics
from models.dynamics.linear import linear_dynamics
from models.dynamics.network import NETWORKS, NetworkDynamics
from models.files import ModelFileError


def made(kind):
    rng = np.random.default_rng(3)
    before = rng.normal(size=(4, 30))
    linear = linear_dynamics(before, 0.7 * before + 0.2 * rng.normal(size=(4, 30)))
    if kind == "linear":
        return linear, rng.normal(size=4)
    module = NETWORKS[kind](linear, np.array([1.0, 2.0, 3.0, 0.5]), 6, 2)
    with torch.no_grad():
        module.layers[-1].weight.normal_(0.0, 0.3)
    return NetworkDynamics(module, linear.noise), rng.normal(size=4 + module.n_memory)


@pytest.mark.parametrize("kind", ["linear", *NETWORKS])
def test_they_come_back_as_they_were(tmp_path, kind):
    dynamics, at = made(kind)
    save_dynamics(tmp_path / "f.safetensors", dynamics, {"step": 2.0, "codec": "tsvd"})
    found, about = load_dynamics(tmp_path / "f.safetensors", {"step": 2.0})
    np.testing.assert_array_equal(found.step(at), dynamics.step(at))
    np.testing.assert_array_equal(found.noise, dynamics.noise)
    assert about["kind"] == kind and about["n_codes"] == 4 and about["codec"] == "tsvd"


def changed(path, **header):
    """The file again, with other entries of its header or without tensors."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["about"])
    for name in header.pop("without", ()):
        del tensors[name]
    for name in header.pop("broken", ()):
        tensors[name] = tensors[name] * float("nan")
    save_file(tensors, path, {"format": "dynamics", "version": "1", "about": json.dumps({**about, **header})})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "spectral"}, "holds no dynamics 'spectral'"),
        ({"hidden": 7}, "of 7 hidden numbers"),
        ({"n_codes": 3}, "is damaged"),
        ({"without": ["matrix"]}, "is damaged: 'matrix'"),
        ({"without": ["layers.2.bias"]}, "is damaged"),
        ({"broken": ["layers.0.weight"]}, "layers.0.weight is damaged"),
        ({"broken": ["noise"]}, "noise is damaged"),
    ],
)
def test_what_is_damaged_is_told(tmp_path, change, text):
    path = tmp_path / "f.safetensors"
    save_dynamics(path, made("residual")[0], {})
    changed(path, **change)
    with pytest.raises(ModelFileError, match=text) as error:
        load_dynamics(path)
    assert str(path) in str(error.value)


def test_what_is_none_or_another_is_told(tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(ModelFileError, match="no such file"):
        load_dynamics(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="not a whole safetensors file"):
        load_dynamics(path)
    save_file({"a": torch.zeros(1)}, path, {"format": "autoencoder", "version": "1"})
    with pytest.raises(ModelFileError, match="holds autoencoder 1, expected dynamics 1"):
        load_dynamics(path)
    save_dynamics(path, made("linear")[0], {"step": 2.0})
    with pytest.raises(ModelFileError, match="another step: 2.0, expected 4.0"):
        load_dynamics(path, {"step": 4.0})
    with pytest.raises(ValueError, match="'kind' is a name of the file's own"):
        save_dynamics(path, made("linear")[0], {"kind": "mine"})
