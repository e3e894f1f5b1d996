"""Networks that begin at principal components of blocks."""

import numpy as np
import pytest
import torch

from models import zoo
from models.layers.block import BLOCKS
from models.zoo.corrected import Corrected, CorrectedCodes

SHAPE = (17, 5, 4)
MASK = np.ones(SHAPE, bool)
MASK[3:6, 1:3, :2] = False
NAMES = ["PCA-UNet", "PCA-RAB-2-vanilla", "PCA-Tucodec-vanilla", *(f"PCA-{block}" for block in BLOCKS)]


def make(name, **options):
    return zoo.make(name, 2, SHAPE, mask=MASK, **{"width": 4, "n_latent": 8, "blocks": [2, 1, 1], **options})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("overlap", [0, 2])
def test_a_new_one_is_the_linear_codec(name, overlap):
    network = make(name, overlap=overlap).eval()
    assert isinstance(network, CorrectedCodes if "Tucodec" in name else Corrected)
    fields = torch.randn(2, 2, *SHAPE) * network.mask
    with torch.no_grad():
        codes = network.linear.encode(fields)
        assert torch.equal(network.encode(fields), codes)
        assert torch.equal(network.decode(codes), network.linear.decode(codes) * network.mask)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_step_changes_encoder_and_decoder(name):
    network = make(name).train()
    fields = torch.randn(3, 2, *SHAPE) * network.mask
    (network(fields) - fields).square().mean().backward()
    last = (
        [network.beside.encoder.last, network.beside.decoder[-1]]
        if isinstance(network, CorrectedCodes)
        else [network.before.last, network.after.last]
    )
    assert all(layer.weight.grad.abs().max() > 0.0 for layer in last)


def test_corrections_are_in_units_of_what_the_modes_leave_out():
    network = make("PCA-UNet").eval()
    for name, values in network.named_parameters():
        torch.nn.init.normal_(values, std=0.1 if "weight" in name else 0.01)
    network.deviation[0, 5] = 0.0
    codes = torch.randn(2, 8)
    with torch.no_grad():
        added = network.decode(codes) - network.linear.decode(codes) * network.mask
    assert not added[:, 0, 5].any() and added[:, 1, 5].any()


def test_the_latent_and_the_blocks_are_chosen_by_the_grid_if_nothing_is_said():
    network = zoo.make("PCA-UNet", 1, (46, 43, 16))
    assert network.n_latent == 264 and network.linear.blocks.counts == (4, 4, 1)
    assert max(network.linear.modes) - min(network.linear.modes) <= 1


@pytest.mark.parametrize(
    "options, said",
    [
        ({"blocks": [2, 1]}, "expected three numbers"),
        ({"modes": [1, 2]}, "modes of blocks are 3 in all, expected n_latent = 8"),
        ({"block": "NeXt"}, "has no residual blocks"),
        ({"overlaps": 1}, "nearest: 'overlap'"),
    ],
)
def test_what_does_not_fit_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        make("PCA-UNet", **options)


def test_with_roots_a_new_one_is_the_linear_codec_of_roots():
    network = make("PCA-UNet", roots=[1]).eval()
    fields = torch.randn(2, 2, *SHAPE) * network.mask
    network.roots.fit(fields.numpy(), np.full((2, *SHAPE), -5.0))
    with torch.no_grad():
        codes = network.linear.encode(network.roots(fields) * network.mask)
        assert torch.equal(network.encode(fields), codes)
        back = network.decode(codes)
        assert torch.equal(back, network.roots.inverse(network.linear.decode(codes)) * network.mask)
    assert (back[:, 1] >= -5.0 - 1e-4).all() and not back[:, :, ~MASK].any()
