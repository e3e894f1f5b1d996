"""Networks as ONNX: ONNX Runtime encodes, decodes and analyses as torch does."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mpi4py import MPI

from da.background.latent import decoded_transform, latent_modes
from da.bireduced import bireduced
from models import zoo
from models.decoder import parallel_decoder
from models.export import ExportError, write_observation_onnx, write_onnx
from models.local_network import PlainPasses
from models.zoo.observation_encoder import ObservationEncoder

SHAPE, COMM = (18, 9, 5), MPI.COMM_SELF
NETWORKS = [
    ("Tucodec-Separable", {"width": [4, 6, 8, 8], "upsampling": "shuffle"}),
    ("Tucodec-Inception", {"width": 4, "multiscale_decoder": True}),
    ("RAB-1-NeXt+CBAM", {"width": 8}),
    ("RDB1-2-4-Factorised", {"width": 8}),
    ("Backbone-GDN", {"width": 8, "variational": True}),
    ("PCA-UNet", {"n_latent": 8, "overlap": 2}),
    ("PCA-Tucodec-NeXt", {"width": 8}),
]


def network_of(name, options):
    """A network in evaluation mode whose norms, modes and deviations are not those of the start."""
    model = zoo.make(name, 2, SHAPE, mask=torch.rand(SHAPE) > 0.2, **options)
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(2, 2, *SHAPE))
        for key, value in model.state_dict().items():
            if "linear" in key and value.is_floating_point():
                value.copy_(torch.randn_like(value) / 10)
    return model.eval()


def passes_of(paths):
    """Encode and decode by ONNX Runtime."""
    encoder, decoder = (onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in paths)

    def run(session, values):
        (name,) = (given.name for given in session.get_inputs())
        return torch.from_numpy(session.run(None, {name: values.numpy()})[0])

    return PlainPasses(lambda fields: run(encoder, fields), lambda code: run(decoder, code))


@pytest.mark.parametrize("name, options", NETWORKS)
def test_onnx_runtime_encodes_and_decodes_alike(tmp_path, name, options):
    model = network_of(name, options)
    passes = passes_of(write_onnx(model, tmp_path / "network", {"name": name}))
    fields, code = torch.randn(1, 2, *SHAPE), torch.randn(1, model.n_latent)
    with torch.no_grad():
        for found, expected in (
            (passes.encode(fields), model.encode(fields)),
            (passes.decode(code), model.decode(code)),
        ):
            assert found.shape == expected.shape and expected.abs().max() > 0
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_onnx_runtime_encodes_readings_alike(tmp_path):
    model = ObservationEncoder(network_of("Backbone", {"width": 4}), (1.0, 2.0, 3.0), width=4).eval()
    path = write_observation_onnx(model, tmp_path / "observations", {"name": "Backbone"})
    spread = torch.randn(1, 4, *SHAPE)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"spread": spread.numpy()})[0])
    with torch.no_grad():
        expected = model.encode(spread)
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("centred", [False, True])
def test_onnx_runtime_gives_the_same_analysis(tmp_path, centred):
    model = network_of("Tucodec-NeXt", {"width": 8}).train()
    rng = np.random.default_rng(1)
    patterns = torch.randn(3, 2, *SHAPE) * model.mask
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(25):
        fields = torch.einsum("sk,k...->s...", torch.randn(4, 3), patterns)
        optimiser.zero_grad()
        (model(fields) - fields).square().mean().backward()
        optimiser.step()
    paths = write_onnx(model, tmp_path / "network", {})
    patterns = patterns.permute(0, 2, 3, 4, 1).flatten(1).numpy()
    scale = np.repeat(model.mask.numpy().ravel(), 2) * rng.uniform(0.5, 2.0, 2 * np.prod(SHAPE))
    states = scale[:, None] * (patterns.T @ rng.standard_normal((3, 20)))
    analyses = []
    for faster in (None, lambda network: passes_of(paths)):
        decoder = parallel_decoder(model, scale, COMM, faster=faster)
        modes = latent_modes(decoder.encode(states), COMM, centred=centred)
        transform = decoded_transform(decoder, modes, states[:, 0] if centred else None)
        analyses.append(bireduced(transform, states[:, 1], COMM))
    ours, theirs = (analysis.increment for analysis in analyses)
    assert np.linalg.norm(ours) > 1e-3 * np.linalg.norm(states[:, 1])
    assert np.linalg.norm(theirs - ours) < 1e-4 * np.linalg.norm(ours)
    assert analyses[1].trace[1].cost == pytest.approx(analyses[0].trace[1].cost, rel=1e-4)


def test_files_say_what_they_are(tmp_path):
    model = network_of("Backbone", {"width": 4}).double()
    paths = write_onnx(model, tmp_path / "network", {"variables": ["Tracer", "Pressure"]})
    assert [path.name for path in paths] == ["network.encode.onnx", "network.decode.onnx"]
    for path, shapes in zip(paths, ([(1, 2, *SHAPE), (1, 64)], [(1, 64), (1, 2, *SHAPE)]), strict=True):
        found = onnx.load(str(path))
        told = {each.key: json.loads(each.value) for each in found.metadata_props}
        assert told == {"about": {"variables": ["Tracer", "Pressure"]}}
        for value, shape in zip((found.graph.input[0], found.graph.output[0]), shapes, strict=True):
            assert tuple(d.dim_value for d in value.type.tensor_type.shape.dim) == shape
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert model.mask.dtype == torch.float64  # the caller's network stays as it was


class Bessel(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_what_onnx_cannot_say_leaves_no_file(tmp_path):
    model = zoo.make("Backbone", 1, SHAPE, width=4)
    model.decoder = torch.nn.Sequential(model.decoder, Bessel())
    with pytest.raises(ExportError, match="no counterpart in ONNX"):
        write_onnx(model, tmp_path / "network", {})
    assert not (tmp_path / "network.decode.onnx").exists()
