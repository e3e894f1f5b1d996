import pytest
import torch

from models import zoo
from models.inference import fast_passes

SHAPES = [(17, 9, 5), (20, 18, 7)]


def _trained(name, shape, channels=2, **options):
    """A network whose batch norms have statistics of their own, in evaluation mode."""
    model = zoo.make(name, channels, shape, **options)
    for _ in range(2):
        model(torch.randn(2, channels, *shape))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.weight.uniform_(0.5, 1.5), module.bias.uniform_(-0.5, 0.5)
    return model.eval()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "name, options",
    [
        ("Backbone", {"width": 8}),
        ("Backbone-GDN", {"width": 8}),
        ("ResNeXt1-2-1-vanilla+CBAM", {"width": 8}),
        ("RDB1-2-4-NeXt", {"width": 8}),
        ("RAB-1-NeXt", {"width": 16}),
        ("GRDN-NeXt+CBAM", {"width": 8, "groups": 1}),
        ("Tucodec-NeXt", {"width": 16}),
        ("Tucodec-Inception", {"width": 16, "multiscale_decoder": True}),
        ("Tucodec-Factorised", {"width": [8, 12, 16, 16]}),
        ("Tucodec-Separable", {"width": 16, "decoder_width": [8, 8, 12, 16], "upsampling": "shuffle"}),
        ("Backbone-GDN", {"width": 8, "upsampling": "shuffle"}),
        ("RAB-1-NeXt", {"width": [8, 12, 16, 8], "upsampling": "shuffle"}),
    ],
)
def test_encodes_and_decodes_as_the_network_does(name, options, shape):
    model = _trained(name, shape, mask=torch.rand(shape) > 0.2, **options)
    fast, rough = fast_passes(model), fast_passes(model, torch.bfloat16)
    for way, given in (("encode", torch.randn(3, 2, *shape)), ("decode", torch.randn(3, model.n_latent))):
        with torch.no_grad():
            expected = getattr(model, way)(given)
        torch.testing.assert_close(getattr(fast, way)(given), expected, rtol=1e-4, atol=1e-5)
        found = getattr(rough, way)(given)
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("shape", [(17, 9, 5), (17, 4, 1), (18, 2, 2)])
@pytest.mark.parametrize("channels", [1, 9])
def test_first_and_last_points_of_any_grid(shape, channels):
    # a few channels are summed, more are convolved
    model = _trained("Backbone", shape, channels, width=12)
    latent = torch.randn(1, model.n_latent)
    torch.testing.assert_close(fast_passes(model).decode(latent), model.decode(latent), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(17, 9, 5), (18, 2, 2), (20, 18, 7)])
def test_shuffles_that_follow_one_another(shape, monkeypatch):
    monkeypatch.setattr("models.inference._CACHED", 4)  # shuffles nest, and pieces of GDN's points are many
    model = _trained("Backbone-GDN", shape, width=[6, 8, 8, 8], upsampling="shuffle")
    fields, latent = torch.randn(2, 2, *shape), torch.randn(2, model.n_latent)
    fast = fast_passes(model)
    torch.testing.assert_close(fast.decode(latent), model.decode(latent), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fast.encode(fields), model.encode(fields), rtol=1e-4, atol=1e-5)


def test_network_stays_as_it_was():
    model = _trained("Tucodec-NeXt", SHAPES[0], width=8).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    decode = fast_passes(model).decode
    first = decode(torch.ones(1, 64))
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(decode(torch.ones(1, 64)), first)


def test_float64_and_own_networks_are_decoded_as_they_are():
    for model in (_trained("Backbone", SHAPES[0], width=8).double(), zoo.make("own_networks:Plain", 1, (4, 3, 2))):
        latent = torch.randn(2, model.n_latent, dtype=model.mask.dtype)
        torch.testing.assert_close(fast_passes(model).decode(latent), model.decode(latent))


def test_other_precisions_are_refused():
    with pytest.raises(ValueError, match="float16"):
        fast_passes(zoo.make("Backbone", 1, SHAPES[0]), torch.float16)
