import importlib.metadata

import pytest
import torch

from models import zoo
from models.zoo.coarsening import coarser_shapes

PAPER = (91, 85, 32)
SMALL = (17, 9, 5)
# Mack et al. 2020, Table 1, in millions
TABLE = {
    "Backbone": 0.3,
    "ResNeXt3-27-1-vanilla+CBAM": 3.5,
    "RDB3-27-4-vanilla+CBAM": 25.6,
    "RAB-4-NeXt": 1.3,
    "GRDN-NeXt+CBAM": 4.7,
    "Tucodec-NeXt": 2.5,
    "Tucodec-vanilla": 10.6,
}
# of each family one that is small: blocks in parallel are all alike, and so are channels
LIGHT = (
    "Backbone",
    "ResNeXt1-2-1-vanilla+CBAM",
    "RDB1-2-4-NeXt+CBAM",
    "RAB-1-NeXt",
    "GRDN-NeXt+CBAM",
    "Tucodec-NeXt",
    "Tucodec-Factorised",
    "RAB-1-Separable",
)


def _light(name, channels=1, shape=SMALL, **options):
    return zoo.make(name, channels, shape, width=8, **{**_smallest(name), **options})


def _smallest(name):
    return {"groups": 1, "growth": 4, "depth": 1} if name.startswith("GRDN") else {}


def test_all_of_the_table_are_there():
    assert set(TABLE) == set(zoo.NAMES)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_parameters_and_latent_at_the_paper_s_grid(name):
    with torch.device("meta"):
        model = zoo.make(name, 1, PAPER)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(TABLE[name], rel=0.15)
    assert model.n_latent == 576


@pytest.mark.parametrize("shape", [(46, 43, 16), (51, 39, 21), (48, 32, 16), SMALL, PAPER])
@pytest.mark.parametrize("name", LIGHT)
def test_shapes_come_back_on_any_grid(name, shape):
    model = _light(name, 2, shape)
    fields = torch.zeros(1, 2, *shape)
    with torch.inference_mode():
        latent = model.encode(fields)
        assert latent.shape == (1, model.n_latent)
        assert model.decode(latent).shape == fields.shape


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("shape", [SMALL, (18, 17, 3)])
def test_forward_and_backward(name, shape):
    model = _light(name, 2, shape)
    fields = torch.randn(2, 2, *shape)
    loss = (model(fields) - fields).square().sum()
    loss.backward()
    for key, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), key
    assert all(p.grad.abs().sum() > 0 for k, p in model.named_parameters() if k.endswith("last.weight"))


@pytest.mark.parametrize("name", LIGHT)
def test_a_few_steps_of_training_help(name):
    model = _light(name)
    x, y, z = torch.meshgrid(*(torch.linspace(0, 3, n) for n in SMALL), indexing="ij")
    fields = torch.stack([torch.sin(k * x + y) + torch.cos(z + k) for k in (0.5, 1.0, 2.0)])[:, None]
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = (model(fields) - fields).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", LIGHT)
def test_solid_points_never_matter(name):
    mask = torch.rand(SMALL) > 0.3
    model = _light(name, 2, mask=mask).eval()
    fields = torch.randn(2, 2, *SMALL)
    other = torch.where(mask, fields, torch.tensor(float("nan")))
    for training in (False, True):
        model.train(training)
        assert torch.equal(model.encode(fields), model.encode(other))
        back = model(other)
        assert torch.isfinite(back).all() and not back[:, :, ~mask].any() and back[:, :, mask].all()


def test_one_field_is_enough_for_training_on_the_smallest_grid():
    _light("RAB-1-NeXt").train()(torch.randn(1, 1, *SMALL))
    _light("Tucodec-NeXt").train()(torch.randn(1, 1, *SMALL))


def test_seed_makes_the_weights_and_disturbs_nothing():
    before = torch.random.get_rng_state()
    one, same, other = (_light("Tucodec-NeXt", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "name",
    ["Tucodec-NeXt+CBAM", "Tucodec-Inception-ReLU", "RAB-2-vanilla-GDN", "ResNeXt2-3-2-NeXt", "Backbone-GDN", "GRDN"],
)
def test_variants_are_spelled(name):
    model = _light(name)
    assert model.eval()(torch.randn(1, 1, *SMALL)).shape == (1, 1, *SMALL)


def test_options_are_names_too():
    one = _light("Tucodec-NeXt+CBAM-ReLU").state_dict()
    other = _light("Tucodec-vanilla", block="NeXt+CBAM", activation="ReLU").state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_decoder_of_several_scales():
    model = _light("Tucodec-NeXt", multiscale_decoder=True)
    assert model(torch.randn(2, 1, *SMALL)).shape == (2, 1, *SMALL)


@pytest.mark.parametrize("name", LIGHT)
def test_widths_of_each_resolution_and_of_the_decoder(name):
    """Numbers of channels at the four resolutions; the same number everywhere is the network as it was."""
    alike = _light(name, seed=3)
    listed = zoo.make(name, 1, SMALL, **_smallest(name), width=[8] * 4, decoder_width=8, seed=3)
    assert all(torch.equal(value, listed.state_dict()[key]) for key, value in alike.state_dict().items())
    thin = zoo.make(name, 1, SMALL, **_smallest(name), width=[4, 6, 8, 10], decoder_width=[2, 4, 6, 8])
    assert thin(torch.randn(2, 1, *SMALL)).shape == (2, 1, *SMALL)
    assert thin.n_latent == alike.n_latent
    shuffled = zoo.make(name, 1, SMALL, **_smallest(name), width=8, upsampling="shuffle")
    assert not any(isinstance(module, torch.nn.ConvTranspose3d) for module in shuffled.modules())
    assert shuffled(torch.randn(2, 1, *SMALL)).shape == (2, 1, *SMALL)


def test_widths_that_do_not_fit():
    for width in ([8, 8, 8], [8, 0, 8, 8]):
        with pytest.raises(ValueError, match="expected a number of channels or 4 of them"):
            zoo.make("Backbone", 1, SMALL, width=width)
    with pytest.raises(ValueError, match="one width"):
        zoo.make("Tucodec-NeXt", 1, SMALL, width=[4, 8, 8, 8], multiscale_decoder=True)
    with pytest.raises(ValueError, match="unknown upsampling"):
        zoo.make("Backbone", 1, SMALL, upsampling="shuffled")


def test_latent_is_settable():
    assert zoo.make("Backbone", 1, PAPER, n_latent=90).n_latent == 90
    with pytest.raises(ValueError, match="n_latent = 100 is no multiple of 9.*nearest are 99 and 108"):
        zoo.make("Backbone", 1, PAPER, n_latent=100)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("Tucodec-Next", {}, r"unknown network 'Tucodec-Next' \(nearest: 'Tucodec-NeXt'\)"),
        ("Backbone-NeXt", {}, "unknown network"),
        ("RAB-0-NeXt", {}, "must be 1 or more"),
        ("Backbone", {"block": "NeXt"}, "no residual blocks"),
        ("Tucodec-NeXt", {"block": "NeXt+CBA"}, r"nearest: 'NeXt\+CBAM'"),
        ("Tucodec-NeXt", {"activation": "SeLU"}, "unknown activation 'SeLU'"),
        ("Tucodec-NeXt", {"multiscale": True}, "nearest: 'multiscale_decoder'"),
        ("no_such_package.networks:own", {}, "cannot import 'no_such_package.networks'"),
        ("own_networks:plain", {}, "nearest: 'Plain'"),
        ("own_networks:no_network", {}, "gives str, expected a torch.nn.Module"),
        ("own_networks:of_another_size", {}, "crop or pad"),
        ("own_networks:Plain", {"growth": 3}, "unknown option"),
    ],
)
def test_what_cannot_be_made(name, options, message):
    with pytest.raises(ValueError, match=message):
        zoo.make(name, 1, (18, 9, 5), **options)


def test_grid_that_is_too_small():
    with pytest.raises(ValueError, match="longest side has 16 points, 17 or more are needed"):
        zoo.make("Backbone", 1, (16, 9, 5))
    assert coarser_shapes((17, 1, 1))[-1] == (1, 1, 1)


def test_a_user_s_own_module_keeps_the_promises():
    mask = torch.rand(6, 5, 4) > 0.3
    model = zoo.make("own_networks:Plain", 2, (6, 5, 4), width=5, mask=mask)
    assert (model.channels, model.shape, model.n_latent) == (2, (6, 5, 4), 5 * 3 * 5 * 4)
    fields = torch.randn(3, 2, 6, 5, 4)
    back = model(torch.where(mask, fields, torch.tensor(float("nan"))))
    torch.testing.assert_close(back, model(fields))
    assert not back[:, :, ~mask].any()


def test_a_user_s_own_autoencoder_is_taken_as_it_is():
    mask = torch.zeros(3, 2, 2)
    model = zoo.make("own_networks:orthonormal", 1, (3, 2, 2), mask=mask, n_latent=2)
    assert type(model).__name__ == "Linear" and model.n_latent == 2 and torch.equal(model.mask, mask)


def test_entry_points(monkeypatch):
    point = importlib.metadata.EntryPoint("mine", "own_networks:Plain", zoo.ENTRY_POINTS)
    monkeypatch.setattr(zoo, "entry_points", lambda group: [point] if group == zoo.ENTRY_POINTS else [])
    assert zoo.make("mine", 1, (4, 3, 2)).architecture["name"] == "mine"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m.encode(torch.zeros(1, 2, *SMALL)), r"fields of shape \(1, 2, 17, 9, 5\), expected \(batch, 1, 17"),
        (lambda m: m.decode(torch.zeros(1, 3)), r"latent of shape \(1, 3\), expected \(batch, 64\)"),
        (lambda m: zoo.make("Backbone", 1, SMALL, mask=torch.ones(3, 3, 3)), "expected the grid's"),
        (lambda m: zoo.make("Backbone", 1, SMALL, mask=torch.full(SMALL, 0.5)), "other values than 0"),
        (lambda m: zoo.make("Linear", 1, SMALL), "cannot be made.*n_latent"),
        (lambda m: zoo.make("Backbone", 0, SMALL), "one or more variables"),
        (lambda m: zoo.make("Linear", 1, (3, 3), n_latent=2), "three positive numbers"),
    ],
)
def test_wrong_shapes_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call(_light("Backbone"))
