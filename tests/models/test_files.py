"""Networks in files: the same bits back, and a sentence for whatever is no such file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import zoo
from models.files import (
    AUTOENCODER,
    OBSERVATION_ENCODER,
    TRAINING_STATE,
    ModelFileError,
    load,
    load_arrays,
    mask_hash,
    read_about,
    save,
)
from models.training.state import TrainingState, save_state
from models.zoo.linear import Linear
from models.zoo.observation_encoder import ObservationEncoder

SHAPE = (17, 9, 5)
METADATA = {"box": [[0.0, 0.0, 0.0], [10.0, 5.0, 2.0]], "variables": ["Velocity.x", "Tracer"], "fingerprint": "ab12"}


@pytest.fixture
def model():
    mask = torch.rand(SHAPE) > 0.2
    model = zoo.make("Tucodec-NeXt", 2, SHAPE, width=8, activation="ReLU", mask=mask)
    model(torch.randn(2, 2, *SHAPE))  # statistics of the batch norms are no longer those of the start
    return model


@pytest.fixture
def stored(tmp_path, model):
    save(tmp_path / "network.safetensors", model, METADATA)
    return tmp_path / "network.safetensors"


def test_there_and_back(stored, model):
    found, about = load(stored)
    fields = torch.randn(2, 2, *SHAPE)
    assert torch.equal(found(fields), model.eval()(fields)) and not found.training
    assert {key: about[key] for key in METADATA} == METADATA
    assert about["name"] == "Tucodec-NeXt" and about["options"] == {"width": 8, "activation": "ReLU"}
    assert about["mask"] == mask_hash(model.mask) and about["shape"] == list(SHAPE)
    assert found.architecture == model.architecture
    save(stored, found, METADATA)
    assert load(stored)[1] == about


def test_widths_of_each_resolution(tmp_path):
    options = {"width": [4, 6, 8, 8], "decoder_width": [2, 4, 8, 8], "upsampling": "shuffle"}
    model = zoo.make("Tucodec-Separable", 1, SHAPE, **options).eval()
    save(tmp_path / "thin.safetensors", model, {})
    found, about = load(tmp_path / "thin.safetensors", {"name": "Tucodec-Separable", "options": options})
    fields = torch.randn(1, 1, *SHAPE)
    assert torch.equal(found(fields), model(fields)) and found.architecture == model.architecture


def test_arrays_beside_the_weights(stored, model):
    arrays = {"mean": np.arange(5.0), "codes": np.ones((2, 3), np.float32), "times": np.arange(3)[::-1]}
    save(stored, model, METADATA, arrays)
    found = load_arrays(stored)
    assert list(load_arrays(stored, ["codes"])) == ["codes"] and set(found) == set(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)
    fields = torch.randn(1, 2, *SHAPE)
    assert torch.equal(load(stored)[0](fields), model.eval()(fields))
    with pytest.raises(ModelFileError, match="network.safetensors: does not hold scale"):
        load_arrays(stored, ["mean", "scale"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_linear_in_its_own_precision(tmp_path, dtype):
    model = Linear(1, (3, 2, 2), 4, torch.randn(12, 4).to(dtype))
    save(tmp_path / "linear.safetensors", model, {}, {"codes": model.factors})
    found, about = load(tmp_path / "linear.safetensors")
    assert torch.equal(found.factors, model.factors) and found.factors.dtype == dtype
    assert about["precision"] == str(dtype).removeprefix("torch.")
    np.testing.assert_array_equal(load_arrays(tmp_path / "linear.safetensors")["codes"], model.factors.double())


def test_what_is_expected(stored, model):
    load(stored, {"name": "Tucodec-NeXt", "shape": SHAPE, "variables": ("Velocity.x", "Tracer"), "mask": model.mask})


@pytest.mark.parametrize(
    "expected, message",
    [
        ({"name": "Tucodec-vanilla"}, "another name: Tucodec-NeXt, expected Tucodec-vanilla"),
        ({"shape": (91, 85, 32)}, r"another shape: \[17, 9, 5\], expected \[91, 85, 32\]"),
        ({"variables": ["Tracer"]}, r'another variables: \["Velocity.x", "Tracer"\], expected \["Tracer"\]'),
        ({"n_latent": 576}, "another n_latent: 64, expected 576"),
        ({"mask": torch.ones(SHAPE)}, "another mask: "),
        ({"period": [0, 60]}, r"does not say period, expected \[0, 60\]"),
    ],
)
def test_what_is_not_as_expected_is_named(stored, expected, message):
    with pytest.raises(ModelFileError, match=f"network.safetensors: .*{message}"):
        load(stored, expected)


def test_failed_writing_leaves_the_old_file(stored, model, monkeypatch):
    before = stored.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save(stored, model, {"fingerprint": "other"})
    assert stored.read_bytes() == before and list(stored.parent.iterdir()) == [stored]


def test_files_of_another_kind_are_named(tmp_path, stored, model):
    assert load(stored, kind=AUTOENCODER)[1]["name"] == "Tucodec-NeXt"
    encoder = tmp_path / "encoder.safetensors"
    save(encoder, ObservationEncoder(Linear(1, (3, 2, 2), 4), (1.0, 1.0, 1.0), width=2), {})
    save_state(tmp_path, model, [], TrainingState(3, [], 3, 0.5, model.state_dict()), {}, 1)
    state = tmp_path / "epoch-0003.safetensors"
    for path, holds in (
        (stored, AUTOENCODER),
        (encoder, OBSERVATION_ENCODER),
        (state, TRAINING_STATE),
    ):
        load(path, kind=holds)
        for expected in {AUTOENCODER, OBSERVATION_ENCODER, TRAINING_STATE} - {holds}:
            with pytest.raises(ModelFileError, match=f"{path.name}: holds {holds}, expected {expected}; "):
                load(path, {"name": "Backbone"}, expected)
    with pytest.raises(ModelFileError, match="go on with that training, and name the file of the network"):
        load(state, kind=AUTOENCODER)


def test_arrays_of_another_shape(stored, model):
    save(stored, model, METADATA, {"codes": np.ones((64, 3))})
    load_arrays(stored, ["codes"], {"codes": (64, None)})
    for shape, text in (((65, None), "65, any"), ((None,), "any"), ((64, 3, 1), "64, 3, 1")):
        with pytest.raises(ModelFileError, match=rf"codes of shape \[64, 3\], expected \[{text}\]; train it anew"):
            load_arrays(stored, ["codes"], {"codes": shape})


def test_files_that_are_none(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ModelFileError, match="folder.safetensors: is a folder"):
        load(tmp_path / "folder.safetensors")
    with pytest.raises(ModelFileError, match="no such file"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("weights")
    with pytest.raises(ModelFileError, match="not a whole safetensors file"):
        load(tmp_path / "text.safetensors")
    save_file({"w": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="but none of an autoencoder"):
        load(tmp_path / "other.safetensors")


def test_a_file_that_was_cut(stored):
    whole = stored.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        stored.write_bytes(whole[:size])
        with pytest.raises(ModelFileError, match="not a whole safetensors file"):
            load(stored)


def _changed(path, change):
    about, tensors, header = read_about(path), load_file(path), {"format": "autoencoder", "version": "1"}
    change(about, tensors, header)
    save_file(tensors, path, {"about": json.dumps(about), **header})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda about, tensors, header: header.update(version="99"), "version 99, expected 1"),
        (lambda about, tensors, header: header.update(about="{"), "is damaged"),
        (lambda about, tensors, header: about.pop("options"), "does not say options"),
        (lambda about, tensors, header: about.update(name="Tucodec-other"), "unknown network"),
        (lambda about, tensors, header: about.update(precision="int8"), "does not hold a Tucodec-NeXt"),
        (lambda about, tensors, header: about["options"].update(width=16), "size mismatch"),
        (lambda about, tensors, header: about["options"].update(n_latent=10**9), "size mismatch"),  # 100 GB
        (lambda about, tensors, header: about.update(shape=[10**5] * 3), "size mismatch"),  # 4 PB
        (lambda about, tensors, header: about.update(shape=[1e300, 1, 1]), "does not hold a Tucodec-NeXt"),
        (lambda about, tensors, header: about.update(name=["a"]), r"is damaged: its name is \[\"a\"\]"),
        (lambda about, tensors, header: about.update(options=None), "is damaged: its options is null"),
        (lambda about, tensors, header: header.update(about="[" * 100000), "is damaged"),
        (lambda about, tensors, header: header.update(about="7"), "is damaged"),
        (lambda about, tensors, header: tensors.pop("encoder.last.bias"), "Missing key"),
        (lambda about, tensors, header: tensors["encoder.last.bias"].fill_(float("nan")), "are no numbers"),
        (lambda about, tensors, header: tensors["mask"].fill_(1.0), "the mask is not the one"),
    ],
)
def test_damage_is_named(stored, change, message):
    _changed(stored, change)
    with pytest.raises(ModelFileError, match=message):
        load(stored)


def test_a_file_does_not_choose_code_to_run(tmp_path):
    path = tmp_path / "own.safetensors"
    save(path, zoo.make("own_networks:Plain", 1, (4, 3, 2)), {})
    with pytest.raises(ModelFileError, match="whose code would be imported"):
        load(path)
    assert load(path, {"name": "own_networks:Plain"})[0].n_latent == 3 * 2 * 3 * 2


def test_what_cannot_be_saved(tmp_path, model):
    with pytest.raises(ValueError, match="'shape' is a name of the file's own"):
        save(tmp_path / "a.safetensors", model, {"shape": [1]})
    model.data = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="weight 'data.weight': names that begin"):
        save(tmp_path / "a.safetensors", model, {})
    model.architecture = None
    with pytest.raises(ValueError, match="does not say how to make it anew"):
        save(tmp_path / "a.safetensors", model, {})
    assert not list(tmp_path.iterdir())


def test_the_example_s_network_encodes_and_decodes():
    path = Path(__file__).parents[2] / "examples/street/street.safetensors"
    model, about = load(path, kind=AUTOENCODER)
    shapes = {"mean": (None,), "scale": (None,), "codes": (model.n_latent, None), "round_trips": (None,)}
    arrays = load_arrays(path, tuple(shapes), shapes)
    codes = torch.from_numpy(arrays["codes"].T)
    with torch.no_grad():
        fields = model.decode(codes)
        again = model.encode(fields)
    assert fields.shape[1:] == (model.channels, *model.shape) and about["variables"]
    assert not fields[:, :, model.mask == 0].any()
    # of states near the training's, the network gives back what it decoded, up to its own round trip
    assert (again - codes).square().mean().sqrt() < 0.5 * codes.std()
