"""What each network of the zoo does, whatever its architecture: shapes, files, gradients, mask, decoders over ranks."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from models import files, zoo
from models.decoder import parallel_decoder
from models.inference import fast_passes
from models.zoo.linear import Linear

SHAPE, CHANNELS = (17, 4, 3), 2
# of parts that are repeated one is enough; names are the table's otherwise, and so are all options
_FEWER = {"ResNeXt3-27-1-vanilla+CBAM": "ResNeXt1-2-1-vanilla+CBAM", "RDB3-27-4-vanilla+CBAM": "RDB1-2-4-vanilla+CBAM"}
_OPTIONS = {"GRDN-NeXt+CBAM": {"groups": 1, "growth": 4, "depth": 1}}
NAMES = (*zoo.NAMES, *zoo.PCA_NAMES, "Linear", "Identity")


@pytest.fixture(params=NAMES)
def network(request):
    """A small network with a mask and with statistics of its own in the batch norms, in evaluation."""
    torch.manual_seed(0)
    name, mask = request.param, torch.rand(SHAPE) > 0.2
    if name == "Linear":
        vectors = torch.linalg.qr(torch.randn(CHANNELS * mask.numel(), 5))[0]
        return Linear(CHANNELS, SHAPE, 5, vectors, mask).eval()
    options = {} if name == "Identity" else {"width": 8, **_OPTIONS.get(name, {})}
    model = zoo.make(_FEWER.get(name, name), CHANNELS, SHAPE, mask=mask, **options).train()
    for parameter in model.parameters():  # networks that begin at a linear one have layers of zeros
        if name.startswith("PCA-") and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    model(torch.randn(3, CHANNELS, *SHAPE))
    return model.eval()


@pytest.fixture
def fields():
    return torch.randn(2, CHANNELS, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_shapes(network, fields):
    latent = network.encode(fields)
    assert latent.shape == (2, network.n_latent) and network.decode(latent).shape == fields.shape


def test_evaluation_is_deterministic(network, fields):
    with torch.no_grad():
        latent = network.encode(fields)
        assert torch.equal(network.encode(fields), latent)
        assert torch.equal(network.decode(latent), network.decode(latent))


def test_a_file_gives_back_every_bit(network, fields, tmp_path):
    files.save(tmp_path / "network.safetensors", network, {})
    read, _ = files.load(tmp_path / "network.safetensors", {"mask": network.mask})
    assert read.architecture == network.architecture
    expected = network.state_dict()
    assert read.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in read.state_dict().items())
    with torch.no_grad():
        assert torch.equal(read(fields), network(fields))


def test_a_gradient_reaches_every_parameter(network, fields):
    network.train()
    if not list(network.parameters()):
        assert network.architecture["name"] in ("Linear", "Identity")
        return
    (network(fields) - fields).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_solid_points_take_no_part(network, fields):
    fluid = network.mask > 0
    with torch.no_grad():
        other = torch.where(fluid, fields, torch.tensor(float("nan")))
        assert torch.equal(network.encode(other), network.encode(fields))
        assert not network(other)[:, :, ~fluid].any()


def test_fast_passes_are_the_networks_own(network, fields):
    fast = fast_passes(network)
    with torch.no_grad():
        latent = network.encode(fields)
        torch.testing.assert_close(fast.encode(fields), latent, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fast.decode(latent), network.decode(latent), rtol=1e-4, atol=1e-5)


def test_tangent_and_adjoint_over_ranks(network):
    rng = np.random.default_rng(2)
    scale = 1.0 + rng.random(CHANNELS * network.mask.numel())
    decoder = parallel_decoder(network.double(), scale, MPI.COMM_SELF)
    z, p = rng.normal(size=(2, network.n_latent))
    increment = rng.normal(size=scale.size)
    expected = (decoder.apply(z + 1e-6 * p) - decoder.apply(z - 1e-6 * p)) / 2e-6
    for keep in (False, True):
        decoder.apply(z, keep=keep)
        tangent, adjoint = decoder.tangent(p, at=z), decoder.adjoint(increment, at=z)
        assert np.linalg.norm(tangent - expected) < 1e-5 * np.linalg.norm(expected)
        assert tangent @ increment == pytest.approx(p @ adjoint, rel=1e-10)
        decoder.release()
