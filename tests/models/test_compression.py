"""Pruned networks: which channels go, what is left of the rest; shuffles in place of transposed convolutions."""

import numpy as np
import pytest
import torch

from models import zoo
from models.compression.channels import ChannelError, channels_of
from models.compression.pruning import (
    PruningError,
    importance,
    network_channels,
    products,
    pruned,
    pruned_widths,
    with_shuffles,
)

SHAPE = (18, 9, 5)
FIELDS = torch.randn(3, 2, 2, *SHAPE, generator=torch.Generator().manual_seed(1))
NETWORKS = [
    ("Tucodec-NeXt", {"width": 8}, {"width": [2, 4, 6, 8], "decoder_width": [4, 4, 2, 6]}),
    ("Tucodec-Separable", {"width": 8, "upsampling": "shuffle"}, {"width": [4, 4, 6, 8]}),
    ("Tucodec-vanilla", {"width": 4, "multiscale_decoder": True}, {"width": 2}),
    ("RDB1-2-4-Factorised", {"width": 8}, {"width": 4}),
    ("ResNeXt1-3-1-vanilla", {"width": 8}, {"width": 4}),
    ("RAB-1-Inception", {"width": 8}, {"width": 4}),
    ("Backbone-GDN", {"width": 8, "variational": True}, {"width": [2, 4, 6, 8]}),
]


def network_of(name, options):
    """A network in evaluation mode whose norms are not those of the start."""
    model = zoo.make(name, 2, SHAPE, mask=np.indices(SHAPE).sum(axis=0) % 7 > 0, **options)
    with torch.no_grad():
        for fields in FIELDS:
            model(fields)
    return model.eval()


def square(fields):
    return lambda model: (model(fields) - fields).square().mean()


@pytest.mark.parametrize("name, options, fewer", NETWORKS)
def test_channels_that_do_nothing_go_without_a_trace(name, options, fewer):
    """All that takes some channels is zero, as is their importance; without them the network gives the same."""
    model = network_of(name, options)
    channels = network_channels(model)
    small = zoo.make(name, 2, SHAPE, **{**options, **fewer}).state_dict()
    weights, idle = dict(model.named_parameters()), set()
    for of, axis in sorted(channels.given):
        roots = list(dict.fromkeys(channels.of((of, axis)).tolist()))
        left = small[of].shape[axis] * len(roots) // weights[of].shape[axis]
        idle |= (
            set(np.random.default_rng(len(of)).choice(sorted(roots), len(roots) - left, replace=False).tolist())
            if (not idle & set(roots))
            else set()
        )
    assert idle
    with torch.no_grad():
        taking = {axis for axis in channels.axes if axis in channels.taken or axis[0].endswith("raw_gamma")}
        for of, axis in taking:
            where = [k for k, root in enumerate(channels.of((of, axis)).tolist()) if root in idle]
            # γ is a softplus of what is learnt
            weights[of].index_fill_(axis, torch.tensor(where, dtype=torch.int64), -100.0 if "gamma" in of else 0.0)
    losses = importance(model, channels, map(square, FIELDS))
    assert all(losses[root] == 0.0 for root in idle) and sum(losses.values()) > 0.0
    # of equals the first stay: others are to be worth more
    losses = {root: value + (root not in idle) for root, value in losses.items()}
    result = pruned(model, channels, losses, **fewer)
    assert products(result) < products(model) and sum(p.numel() for p in result.parameters()) < sum(
        p.numel() for p in model.parameters()
    )
    with torch.no_grad():
        for found, expected in (
            (result.encode(FIELDS[0]), model.encode(FIELDS[0])),
            (result.decode(model.encode(FIELDS[0])), model(FIELDS[0])),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert result.architecture["options"] == {**options, **fewer}


def test_importance_is_the_change_of_the_loss_to_first_order():
    model = network_of("Tucodec-NeXt", {"width": 8}).double()
    channels = network_channels(model)
    losses = importance(model, channels, [square(FIELDS[0].double())])
    weights = dict(model.named_parameters())
    for root in sorted(losses)[:: len(losses) // 6]:
        taken = [
            (weights[name], axis, [k for k, of in enumerate(channels.of((name, axis)).tolist()) if of == root])
            for name, axis in channels.taken
        ]
        values = []
        for step in (-1e-4, 1e-4):
            before = [weight.detach().clone() for weight, _, _ in taken]
            with torch.no_grad():
                for weight, axis, where in taken:
                    weight[(slice(None),) * axis + (where,)] *= 1.0 + step
                values.append(float(square(FIELDS[0].double())(model)))
                for (weight, _, _), old in zip(taken, before, strict=True):
                    weight.copy_(old)
        assert losses[root] == pytest.approx(((values[1] - values[0]) / 2e-4) ** 2, rel=1e-3, abs=1e-14)


def test_widths_follow_from_products():
    model = network_of("Tucodec-NeXt", {"width": 16})
    channels = network_channels(model)
    losses = importance(model, channels, map(square, FIELDS))
    widths = pruned_widths(model, channels, losses, 0.3)
    small = pruned(model, channels, losses, **widths)
    assert small.widths == tuple(widths["width"]) and small.decoder_widths == tuple(widths["decoder_width"])
    assert 0.2 < products(small) / products(model) < 0.35  # inner channels are whole numbers
    with pytest.raises(PruningError, match="an eighth of all channels has .* asked for 0.001"):
        pruned_widths(model, channels, losses, 0.001)


def test_products_of_a_network_counted_by_hand():
    model = zoo.make("Backbone", 2, (17, 1, 1), width=3, n_latent=4)
    # points of 9, 5, 3, 2, 1 along x; 27 weights of a kernel; back the values that a transposed convolution takes
    forth = 27 * (9 * 2 * 3 + 5 * 9 + 3 * 9 + 2 * 9 + 1 * 3 * 4)
    back = 27 * (1 * 4 * 3 + 2 * 9 + 3 * 9 + 5 * 9 + 9 * 3 * 2)
    assert products(model) == forth + back


def test_shuffles_begin_as_the_transposed_convolutions():
    """Alike where features are constant along the grid, but for its last points, which have no right neighbour."""
    model = network_of("Backbone-ReLU", {"width": 4})
    made = with_shuffles(model)
    assert made.architecture["options"]["upsampling"] == "shuffle" and products(made) < products(model)
    up, shuffle = model.decoder[-1], made.decoder[-1]
    x = torch.randn(1, 4, 1, 1, 1).expand(1, 4, *up.in_shape)
    with torch.no_grad():
        expected, found = (layer(x)[:, :, :-1, :-1, :-1] for layer in (up, shuffle))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(made.encode(FIELDS[0]), model.encode(FIELDS[0]))
    assert with_shuffles(made).architecture == made.architecture  # they stay


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(PruningError, match="'PCA-UNet' has no widths to prune; Backbone"):
        network_channels(zoo.make("PCA-UNet", 2, SHAPE, n_latent=8))
    model = network_of("Backbone", {"width": 4})
    channels = network_channels(model)
    with pytest.raises(PruningError, match="shape"):
        pruned(model, channels, {}, width=8)
    with pytest.raises(PruningError, match="neither|width = "):
        pruned(model, channels, {}, width=[4, 4])
    with pytest.raises(PruningError, match="upsampling"):
        with_shuffles(zoo.make("PCA-UNet", 2, SHAPE, n_latent=8))
    of_groups = torch.nn.Conv3d(4, 4, 1, groups=2)
    for layer, message in (
        (torch.nn.GroupNorm(1, 2), "GroupNorm, whose channels"),
        (of_groups, "2 groups of channels"),
    ):
        fields = torch.zeros(1, 4 if layer is of_groups else 2, *SHAPE)
        with pytest.raises(ChannelError, match=message):
            channels_of(torch.nn.Sequential(layer), torch.nn.Identity(), fields, fields)
