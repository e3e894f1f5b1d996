"""Training against a discriminator: its bounds, its own step, and what both learn."""

import numpy as np
import pytest
import torch
from mpi4py import MPI
from training_problem import MASK, N_VALIDATION, make_network, make_samples

from models.training.adversarial import Adversary, PatchDiscriminator
from models.training.loop import train
from models.training.objectives import Batch, reconstruction
from models.training.recipe import Recipe

COMM, SAMPLES = MPI.COMM_SELF, make_samples()
FIELDS = torch.from_numpy(SAMPLES[:8])
PART = torch.as_tensor(MASK).float().expand(FIELDS.shape[1:])


def batch():
    return Batch(FIELDS, FIELDS, PART)


def test_patches_and_what_each_sees():
    discriminator = PatchDiscriminator(2).eval()
    assert discriminator(torch.zeros(3, 2, 17, 5, 4)).shape == (3, 1, 5, 2, 1)
    x = torch.randn(1, 2, 65, 1, 1, requires_grad=True)
    discriminator(x)[0, 0, 8, 0, 0].backward()
    seen = x.grad.abs().sum((0, 1, 3, 4)).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == 23 and int(seen.max() + seen.min()) == 64


def test_each_layer_s_matrix_has_a_norm_of_one():
    discriminator = PatchDiscriminator(2)
    for _ in range(100):  # the power iteration converges while it is used
        discriminator(FIELDS)
    for layer in discriminator.eval():
        if isinstance(layer, torch.nn.Conv3d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.02)


def test_loss_is_the_anchor_less_the_word():
    model = make_network().eval()
    adversary = Adversary(model, 0.3, 1, torch.device("cpu"))
    found = adversary.loss(model, batch(), torch.Generator())
    with torch.no_grad():
        word = adversary.module.eval()(model(FIELDS) * PART).mean()
        expected = reconstruction(model, batch(), torch.Generator()) - 0.3 * word
    torch.testing.assert_close(found.detach(), expected)


def test_the_discriminator_learns_to_tell():
    model = make_network().eval()
    adversary = Adversary(model, 0.3, 1, torch.device("cpu"))
    for group in adversary.optimiser.param_groups:
        group["lr"] = 5e-3
    apart = []
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for _ in range(60):
        adversary.loss(model, batch(), torch.Generator())
        adversary.step(1.0, COMM)
        with torch.no_grad():
            true, false = (adversary.module.eval()(x * PART).mean() for x in (FIELDS, model(FIELDS)))
        apart.append((true - false).item())
    assert apart[-1] > apart[0] + 0.3
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_network_learns():
    model = make_network(width=8)
    recipe = Recipe(epochs=15, batch=8, optimiser="muon", rate=0.05, objective="adversarial", discriminator=0.02)
    found = train(model, SAMPLES, N_VALIDATION, recipe, COMM)
    assert found.loss < 0.8 * found.history[0]["validation"]
    # the validation is of the anchor alone
    best = found.history[found.epoch - 1]
    assert np.sqrt(best["validation"]) == pytest.approx(best["error"], rel=1e-6)


def test_without_a_word_it_is_the_reconstruction():
    one, other = (make_network() for _ in range(2))
    recipe = Recipe(epochs=2, batch=8, objective="adversarial", discriminator=0.0)
    found = train(one, SAMPLES, N_VALIDATION, recipe, COMM)
    expected = train(other, SAMPLES, N_VALIDATION, Recipe(epochs=2, batch=8), COMM)
    assert [r["train"] for r in found.history] == pytest.approx([r["train"] for r in expected.history], rel=1e-5)
