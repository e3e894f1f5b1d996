"""The refinement of linear analyses: any grid, nothing at the start, weights of its seed, all of them trained."""

import pytest
import torch

from models.zoo.refinement import Refinement

SHAPE = (7, 9, 5)


def inputs(earlier, shape=SHAPE, seed=0):
    return torch.randn(2, 6 + earlier, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [SHAPE, (17, 4, 1), (6, 6, 6)])
@pytest.mark.parametrize("earlier", [0, 3])
def test_it_begins_with_the_analysis_on_any_grid(shape, earlier):
    given = inputs(earlier, shape)
    assert torch.equal(Refinement(shape, earlier)(given), given[:, 0])


def test_the_seed_makes_the_weights_and_leaves_torch_s_generator():
    before = torch.random.get_rng_state()
    one, same, other = (Refinement(SHAPE, 1, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_what_it_adds_is_as_large_as_the_errors_left():
    network, given = trained(), inputs(1)
    added = network(given) - given[:, 0]
    given[:, 1] = 0.0
    assert added.abs().min() > 0.0 and torch.equal(network(given), given[:, 0])


def test_every_weight_has_a_gradient_once_the_last_layer_is_not_zero():
    network = trained()
    network(inputs(1)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0.0 for p in network.parameters())


def test_it_sees_a_neighbourhood_only():
    shape = (65, 4, 4)
    network, given = trained(shape), inputs(1, shape)
    changed = given.clone()
    changed[:, :, 0] += 1.0
    moved = (network(changed) != network(given)).any(dim=0).any(dim=-1).any(dim=-1)
    assert moved[1] and not moved[48:].any()


def trained(shape=SHAPE):
    """One whose last layer is not zero."""
    network = Refinement(shape, 1, width=3)
    with torch.no_grad():
        for p in network.unet.last.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    return network
