"""python -m plugin.train --compress: from a trained network's file to one that a case reads in its place."""

import json

import numpy as np
import pytest
import torch
from experiment_case import N_STATES, SHAPE, write_states
from mpi4py import MPI
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from da.background.latent import decoded_transform, latent_modes
from models import files
from models.decoder import parallel_decoder
from models.inference import fast_passes
from models.int8 import Int8Convolution, lacks_int8, largest_inputs
from models.stored_passes import stored_passes
from models.zoo import make
from plugin.case.configuration import ConfigurationError, read_case
from plugin.train import main, train_network

COMM = MPI.COMM_SELF
CASE = """
grid: {{shape: {shape}}}
variables: [Tracer]
background: {{snapshots: [{{path: {states}}}]}}
network:
  file: {folder}/whole.safetensors
  name: Backbone
  width: 16
  training: {{epochs: 2, batch: 6, optimiser: muon, augmentation: null}}
  compression: {{file: {name}.safetensors, states: 8, epochs: 1, {compression}}}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with states and a network trained with them."""
    folder = tmp_path_factory.mktemp("compress")
    write_states(folder / "states")
    train_network(case_of(folder, folder), COMM)
    return folder


def case_of(trained, folder, name="small", compression="products: 0.4"):
    text = CASE.format(shape=list(SHAPE), states=trained / "states", folder=trained, name=name, compression=compression)
    (folder / f"{name}.yml").write_text(text)
    return read_case(folder / f"{name}.yml", needed=("network",))


def compress(words, comm):
    return main([*words, "--compress"], comm)


def test_a_pruned_network_is_a_network_like_any_other(trained, tmp_path, capsys):
    case_of(trained, tmp_path, compression="products: 0.4, upsampling: shuffle")
    assert compress([str(tmp_path / "small.yml")], COMM) == 0
    said = capsys.readouterr().out
    assert "million products" in said and "fine-tuning" in said and "channels [" in said
    whole, before = files.load(trained / "whole.safetensors")
    small, about = files.load(tmp_path / "small.safetensors", {"states": before["states"]}, files.AUTOENCODER)
    assert max(small.widths) <= 16 and sum(small.widths + small.decoder_widths) < 8 * 16
    assert about["options"]["upsampling"] == "shuffle" and about["objective"] == "distilled"
    size = {name: (tmp_path if name == "small" else trained) / f"{name}.safetensors" for name in ("whole", "small")}
    assert sum(p.numel() for p in small.parameters()) < 0.6 * sum(p.numel() for p in whole.parameters())
    assert size["small"].stat().st_size < size["whole"].stat().st_size
    arrays = files.load_arrays(tmp_path / "small.safetensors")
    assert arrays["codes"].shape == (small.n_latent, N_STATES) and len(arrays["round_trips"]) == 3
    with pytest.raises(ConfigurationError, match="network.compression.file: .*small.safetensors is there already"):
        compress([str(tmp_path / "small.yml")], COMM)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_file_of_few_bits(trained, tmp_path, precision):
    """Fewer bytes, nearly the same passes; derivatives are those of the file's weights."""
    if precision == "int8" and lacks_int8():
        case_of(trained, tmp_path, "few", "precision: int8")
        with pytest.raises(ConfigurationError, match="network.compression.precision: int8: this"):
            compress([str(tmp_path / "few.yml")], COMM)
        return
    case_of(trained, tmp_path, "few", f"precision: {precision}")
    assert compress([str(tmp_path / "few.yml")], COMM) == 0
    whole, about = files.load(trained / "whole.safetensors")
    model, of_few = files.load(tmp_path / "few.safetensors", {"states": about["states"]})
    model = model.float()
    assert of_few["passes"]["precision"] == precision and "objective" not in of_few  # nothing was fine-tuned
    weights, few = whole.state_dict(), model.state_dict()
    for name, value in weights.items():
        if not value.is_floating_point():
            continue
        apart = float((few[name] - value).norm() / (value.norm() + 1e-12))
        assert apart < 0.02, name
    assert any(not torch.equal(few[name], value) for name, value in weights.items())
    decoder = parallel_decoder(model, np.ones(int(np.prod(SHAPE))), COMM, faster=stored_passes(of_few))
    exact = parallel_decoder(model, np.ones(int(np.prod(SHAPE))), COMM)
    code = files.load_arrays(tmp_path / "few.safetensors")["codes"][:, 3].astype(np.float64)
    field, apart = exact.apply(code), decoder.apply(code) - exact.apply(code)
    assert np.linalg.norm(apart) < 0.05 * np.linalg.norm(field)
    cotangent = np.random.default_rng(1).standard_normal(len(field))
    np.testing.assert_allclose(decoder.adjoint(cotangent, code), exact.adjoint(cotangent, code), rtol=1e-6, atol=1e-7)


def test_the_gradient_of_a_network_of_eight_bits(trained, tmp_path):
    """A Taylor test: with float passes, as `decoded` takes them, J's remainder is of second order."""
    model = make("Backbone", 1, SHAPE, width=8, activation="GDN", seed=1).eval()
    files.save(tmp_path / "eight.safetensors", model, {}, eight_bits=True)
    model, _ = files.load(tmp_path / "eight.safetensors")
    decoder = parallel_decoder(model.double(), np.ones(int(np.prod(SHAPE))), COMM, faster=fast_passes)
    rng = np.random.default_rng(2)
    modes = latent_modes(rng.standard_normal((model.n_latent, 6)), COMM)
    transform = decoded_transform(decoder, modes)
    control, direction, target = (
        rng.standard_normal(6),
        rng.standard_normal(6),
        rng.standard_normal(int(np.prod(SHAPE))),
    )

    def cost(w):
        return 0.5 * float(np.sum((transform.apply(w) - target) ** 2))

    slope = transform.adjoint(transform.apply(control) - target, at=control) @ direction
    left = [abs(cost(control + h * direction) - cost(control) - h * slope) for h in (1e-2, 1e-3)]
    assert 80.0 < left[0] / left[1] < 120.0


@pytest.mark.skipif(lacks_int8() is not None, reason=str(lacks_int8()))
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_eight_bits_is_that_of_rounded_numbers(stride):
    layer = torch.nn.Conv3d(3, 8, 3, stride, 1)
    x = torch.randn(2, 3, 9, 6, 5)
    largest = float(x.abs().max())
    made = Int8Convolution(layer.weight, layer.bias, largest, (1,) * 3, (stride,) * 3)
    step = layer.weight.abs().amax((1, 2, 3, 4), keepdim=True) / 127
    rounded = (layer.weight / step).round() * step
    values = torch.floor(x * 127 / largest + 0.5).clamp(-128, 127) * largest / 127
    with torch.no_grad():
        expected = torch.nn.functional.conv3d(values, rounded, layer.bias, stride, 1)
        torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-4)
        assert 1e-4 < float((made(x) - layer(x)).norm() / layer(x).norm()) < 0.03


@pytest.mark.skipif(lacks_int8() is not None, reason=str(lacks_int8()))
def test_passes_of_eight_bits_are_near_those_of_the_network():
    """All layers that can: strided, transposed to many channels and to few, blocks, GDN between them."""
    model = make("Tucodec-NeXt", 1, (46, 43, 16), seed=3).eval()
    fields = torch.randn(2, 1, 46, 43, 16)
    largest = largest_inputs(model, [lambda: model(fields)])
    assert any(name.startswith("encoder") for name in largest) and any(name.startswith("decoder") for name in largest)
    passes = fast_passes(model, largest=largest)
    with torch.no_grad():
        code = model.encode(fields)
        for found, expected in ((passes.encode(fields), code), (passes.decode(code), model.decode(code))):
            assert 1e-5 < float((found - expected).norm() / expected.norm()) < 0.05


def test_bad_input(trained, tmp_path):
    with pytest.raises(ConfigurationError, match="products determine the widths"):
        case_of(trained, tmp_path, compression="products: 0.4, width: 8")
    case_of(trained, tmp_path, compression="width: 32")
    with pytest.raises(ConfigurationError, match="network.compression: .*shape"):
        compress([str(tmp_path / "small.yml")], COMM)
    text = (tmp_path / "small.yml").read_text()
    (tmp_path / "none.yml").write_text("\n".join(line for line in text.splitlines() if "compression" not in line))
    with pytest.raises(ConfigurationError, match="network.compression: this section is missing"):
        compress([str(tmp_path / "none.yml")], COMM)
    for passes, message in (
        ({"precision": "int4"}, "expected precision"),
        ({"precision": "int8"}, "expected precision"),
    ):
        with pytest.raises(ValueError, match=message):
            stored_passes({"passes": passes})
    with pytest.raises(ValueError, match="has no such convolution"):
        fast_passes(make("Backbone", 1, SHAPE, width=4), largest={"encoder.99": 1.0})


def test_steps_that_fit_no_weight_are_refused(tmp_path):
    model = make("Backbone", 1, SHAPE, width=4)
    files.save(tmp_path / "eight.safetensors", model, {}, eight_bits=True)
    tensors = load_file(tmp_path / "eight.safetensors")
    assert tensors["encoder.0.0.weight"].dtype == torch.int8
    with safe_open(tmp_path / "eight.safetensors", "pt") as file:
        header = file.metadata()
    assert header["version"] == "2" and json.loads(header["about"])["precision"] == "float32"
    tensors["step.encoder.0.0.weight"] = torch.ones(4, 1, 1, 1, 7)
    save_file(tensors, tmp_path / "wrong.safetensors", header)
    with pytest.raises(files.ModelFileError, match="fits no weight"):
        files.load(tmp_path / "wrong.safetensors")
