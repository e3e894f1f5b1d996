import numpy as np
import pytest
import torch
from training_problem import MASK, SHAPE, make_network

from models import files, zoo
from models.gridding import InverseDistanceGridding
from models.zoo.observation_encoder import ObservationEncoder

SPACING = (3.0, 2.0, 1.0)
GRID = InverseDistanceGridding(SPACING, np.broadcast_to(MASK, (2, *SHAPE)))


def make_encoder(**options):
    return ObservationEncoder(make_network(seed=2), SPACING, width=4, **options)


def spread(count=30, seed=0, states=2):
    rng = np.random.default_rng(seed)
    places = GRID.places[rng.choice(np.flatnonzero(MASK), count)]
    return torch.tensor(
        GRID.weights(places, rng.integers(0, 2, count)).to_grid(rng.normal(size=(states, count))), dtype=torch.float32
    )


def test_any_number_of_sensors():
    encoder = make_encoder().eval()
    for count in (0, 1, 7, 300):
        assert encoder.encode(spread(count)).shape == (2, encoder.n_latent)


def test_f_of_the_spread_values_and_what_the_unet_adds():
    network, seen = make_network(seed=2).eval(), spread()
    encoder = ObservationEncoder(network, SPACING)
    expected = network.encode(seen[:, :2] + encoder.unet(seen))
    torch.testing.assert_close(encoder.encode(seen), expected)
    torch.testing.assert_close(encoder(seen), network.decode(expected))
    with torch.no_grad():
        for p in encoder.unet.last.parameters():
            p.zero_()
    torch.testing.assert_close(encoder.encode(seen), network.encode(seen[:, :2]))


def test_f_is_tuned_and_g_stays():
    network = make_network(seed=2).requires_grad_(False)
    encoder = ObservationEncoder(network, SPACING).train()
    encoder(spread()).square().sum().backward()
    assert encoder.tuned.encoder[0][0].weight.grad.abs().sum() > 0 and network.encoder[0][0].weight.grad is None
    assert not any(p.requires_grad for p in encoder.given.parameters())
    assert encoder.tuned.training and not any(m.training for m in encoder.given.modules())
    assert not [name for name in encoder.state_dict() if name.startswith(("tuned.decoder", "given.encoder"))]
    network.decode(network.encode(torch.zeros(1, 2, *SHAPE)))


def test_solid_points_are_not_seen():
    encoder, seen = make_encoder().eval(), spread()
    field = encoder.field(seen)
    assert not field[..., torch.tensor(~MASK)].any() and field[..., torch.tensor(MASK)].all()


def test_gradient_reaches_sensors_and_weights():
    encoder = make_encoder().double()
    seen = spread().double().requires_grad_()
    encoder.encode(seen).square().sum().backward()
    assert seen.grad[..., torch.tensor(MASK)].abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in encoder.parameters() if p.requires_grad and p.ndim == 5)


def test_kept_in_a_file_and_read_again(tmp_path):
    encoder = make_encoder(seed=3).eval()
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
    assert torch.equal(one.tuned.encoder[0][0].weight, other.tuned.encoder[0][0].weight)


def test_of_a_users_own_network(tmp_path):
    network = zoo.make("own_networks:Plain", 1, (4, 3, 2), width=2)
    encoder = ObservationEncoder(network, SPACING, width=2).eval()
    files.save(tmp_path / "f.safetensors", encoder, {})
    found, _ = files.load(tmp_path / "f.safetensors", {"name": "own_networks:Plain"})
    seen = torch.randn(1, 2, 4, 3, 2)
    assert torch.equal(found.encode(seen), encoder.encode(seen))
    with pytest.raises(files.ModelFileError, match="whose code would be imported"):
        files.load(tmp_path / "f.safetensors")
