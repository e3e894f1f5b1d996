import numpy as np
import pytest
import torch

from models import files, zoo
from models.observation_encoder import ObservationEncoder
from models.sensors import SensorGrid
from training_problem import MASK, SHAPE, make_network

SPACING = (3.0, 2.0, 1.0)
GRID = SensorGrid(SPACING, np.broadcast_to(MASK, (2, *SHAPE)))


def make_encoder(**options):
    return ObservationEncoder(make_network(seed=2), SPACING, width=4, **options)


def spread(count=30, seed=0, states=2):
    rng = np.random.default_rng(seed)
    places = GRID.places[rng.choice(np.flatnonzero(MASK), count)]
    return torch.tensor(GRID.layout(places, rng.integers(0, 2, count)).spread(rng.normal(size=(states, count))))


def test_any_number_of_sensors():
    encoder = make_encoder().eval()
    for count in (0, 1, 7, 300):
        assert encoder.encode(spread(count)).shape == (2, encoder.n_latent)


def test_begins_as_the_encoder_of_the_spread_values():
    network, seen = make_network(seed=2).eval(), spread()
    encoder = ObservationEncoder(network, SPACING).eval()
    torch.testing.assert_close(encoder.encode(seen), network.encode(seen[:, :2]))


def test_the_autoencoders_weights_are_copied_and_its_decoder_left_out():
    network = make_network(seed=2).requires_grad_(False)
    encoder = ObservationEncoder(network, SPACING)
    assert all(p.requires_grad for p in encoder.parameters())
    encoder.encode(spread()).square().sum().backward()
    before = network.encoder[0][0].weight
    assert encoder.autoencoder.encoder[0][0].weight.grad.abs().sum() > 0 and before.grad is None
    assert not [name for name in encoder.state_dict() if "decoder" in name]
    network.decode(torch.zeros(1, network.n_latent))


def test_solid_points_are_not_seen():
    encoder, seen = make_encoder().eval(), spread()
    torch.nn.init.normal_(encoder.unet.last.weight)
    field = encoder.field(seen)
    assert not field[..., torch.tensor(~MASK)].any() and field[..., torch.tensor(MASK)].all()


def test_gradient_reaches_sensors_and_weights():
    encoder = make_encoder().double()
    torch.nn.init.normal_(encoder.unet.last.weight, std=0.1)
    seen = spread().double().requires_grad_()
    encoder.encode(seen).square().sum().backward()
    # the spread values of solid points are zero, and so is what hangs on them
    assert seen.grad[..., torch.tensor(MASK)].abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in encoder.parameters() if p.ndim == 5)


def test_kept_in_a_file_and_read_again(tmp_path):
    encoder = make_encoder(seed=3).eval()
    torch.nn.init.normal_(encoder.unet.last.weight)
    files.save(tmp_path / "f.safetensors", encoder, {"autoencoder": "abc"})
    found, about = files.load(tmp_path / "f.safetensors", {"mask": MASK, "autoencoder": "abc"})
    assert isinstance(found, ObservationEncoder) and found.spacing == SPACING and about["n_latent"] == encoder.n_latent
    assert torch.equal(found.encode(spread()), encoder.encode(spread()))
    with pytest.raises(files.ModelFileError, match="another autoencoder: abc, expected abd"):
        files.load(tmp_path / "f.safetensors", {"autoencoder": "abd"})


def test_made_by_name():
    one, other = (
        zoo.make("Backbone", 1, (17, 3, 3), width=4, observations={"spacing": SPACING, "seed": k}) for k in (1, 2)
    )
    assert not torch.equal(one.unet.down[0][0].weight, other.unet.down[0][0].weight)
    assert torch.equal(one.autoencoder.encoder[0][0].weight, other.autoencoder.encoder[0][0].weight)


def test_of_a_users_own_network(tmp_path):
    network = zoo.make("own_networks:Plain", 1, (4, 3, 2), width=2)
    encoder = ObservationEncoder(network, SPACING, width=2).eval()
    files.save(tmp_path / "f.safetensors", encoder, {})
    found, _ = files.load(tmp_path / "f.safetensors", {"name": "own_networks:Plain"})
    seen = torch.randn(1, 2, 4, 3, 2)
    assert torch.equal(found.encode(seen), encoder.encode(seen))
    with pytest.raises(files.ModelFileError, match="whose code would be imported"):
        files.load(tmp_path / "f.safetensors")
