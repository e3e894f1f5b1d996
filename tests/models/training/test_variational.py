"""The variational objective against closed forms; what a network with variances of its codes keeps and tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mpi4py import MPI
from training_problem import N_VALIDATION, SHAPE, make_network, make_samples

from models import files, zoo
from models.decoder import DecoderError, parallel_decoder
from models.training.loop import train
from models.training.objectives import Batch, kl_from_unit, vae
from models.training.recipe import Recipe
from models.zoo.code_variance import CodeVariance
from models.zoo.linear import Linear

COMM, SAMPLES = MPI.COMM_SELF, make_samples()


def test_divergence_is_that_of_many_draws():
    mean, log_variance = torch.tensor([0.0, 1.5, -0.3]).double(), torch.tensor([0.0, -2.0, 1.0]).double()
    draws = torch.randn(400_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z = mean + (0.5 * log_variance).exp() * draws
    # log q − log p; the constants cancel
    found = (0.5 * z**2 - 0.5 * draws**2 - 0.5 * log_variance).mean(0)
    torch.testing.assert_close(kl_from_unit(mean, log_variance), found, rtol=0.0, atol=0.01)
    assert kl_from_unit(torch.zeros(1), torch.zeros(1)) == 0.0


def linear(weights):
    """A linear network whose decoder's columns have squares `weights`, with variances of its codes."""
    model = Linear(2, (4, 3, 2), len(weights))
    model.factors = (
        torch.linalg.qr(torch.randn(48, len(weights), dtype=torch.float64))[0] * torch.tensor(weights) ** 0.5
    )
    model.mask = model.mask.double()
    model.variance = CodeVariance(len(weights)).double()
    return model


def batch_of(fields, part=None, seed=0):
    part = torch.ones_like(fields[0]) if part is None else part
    return Batch(fields, fields, part, [1000 * seed + k for k in range(len(fields))])


def test_the_best_variances_of_a_linear_decoder():
    """At σ² = 1/(1 + ‖w‖²/β) the mean slope over draws is zero, and elsewhere it is not."""
    beta, weights = 0.05, torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64)
    model = linear(weights.tolist())
    # nothing but noise: codes of zero fields are zero
    batch = batch_of(torch.zeros(4000, 2, 4, 3, 2, dtype=torch.float64))
    last = model.variance.layers[-1]
    for factor, level in ((1.0, 0.0), (2.0, 1.0)):
        best = 1.0 / (1.0 + weights / beta)
        with torch.no_grad():
            last.bias.copy_((factor * best).log())
        last.bias.grad = None
        vae(model, batch, torch.Generator(), beta).backward()
        # ½ n times the slope over β, of log σ²: ½ (σ²/σ²_best − 1)
        slope = last.bias.grad * 48 / (2.0 * beta)
        expected = torch.full_like(slope, 0.5 * level)
        torch.testing.assert_close(slope, expected, rtol=0.1, atol=0.05)


def test_value_of_a_linear_network():
    """Over many draws: ‖x − W Wᵀ x‖² + Σ σ² ‖w‖², and the divergence."""
    model, beta = linear([1.0, 0.8]), 0.3
    part = (torch.rand(2, 4, 3, 2, generator=torch.Generator().manual_seed(2)) > 0.3).double()
    fields = torch.randn(1, 2, 4, 3, 2, dtype=torch.float64)
    codes = model.encode(fields)
    log_variance = model.variance(codes)
    spread = (log_variance.exp() * ((model.factors * part.flatten()[:, None]) ** 2).sum(0)).sum()
    left = ((model.decode(codes) - fields) ** 2 * part).sum()
    expected = (left + spread) / part.sum() + 2 * beta / part.sum() * kl_from_unit(codes, log_variance).sum()
    many = fields.expand(20_000, *fields.shape[1:])
    torch.testing.assert_close(vae(model, batch_of(many, part), torch.Generator(), beta), expected, rtol=0.01, atol=0.0)


def test_free_bits_cost_nothing_more():
    model = linear([1.0, 0.8])
    batch = batch_of(torch.randn(4, 2, 4, 3, 2, dtype=torch.float64))
    bits = [vae(model, batch, torch.Generator(), 0.1, free).item() for free in (0.0, 1e-9, 50.0)]
    assert bits[0] == pytest.approx(bits[1])
    none = vae(model, batch, torch.Generator(), 1e-30).item()
    assert bits[2] - none == pytest.approx(2 * 0.1 / 48 * 2 * 50.0)


def test_gradient():
    model = make_network("Backbone-GDN", variational=True).double().eval()
    batch = batch_of(torch.from_numpy(SAMPLES[:3]).double())
    weights = list(model.parameters())
    slopes = torch.autograd.grad(vae(model, batch, torch.Generator(), 0.1), weights)
    direction = [torch.randn_like(w) for w in weights]
    along = sum((s * d).sum() for s, d in zip(slopes, direction, strict=True)).item()

    def at(step):
        with torch.no_grad():
            for w, d in zip(weights, direction, strict=True):
                w += step * d
            value = vae(model, batch, torch.Generator(), 0.1).item()
            for w, d in zip(weights, direction, strict=True):
                w -= step * d
        return value

    assert (at(1e-5) - at(-1e-5)) / 2e-5 == pytest.approx(along, rel=1e-5)


def test_draws_are_the_samples_own():
    """The same seeds give the same loss, whichever samples are beside them."""
    model = make_network(variational=True).eval()
    fields = torch.from_numpy(SAMPLES[:4])
    part = torch.ones_like(fields[0])
    whole = vae(model, Batch(fields, fields, part, [5, 6, 7, 8]), torch.Generator())
    halves = [
        vae(model, Batch(f, f, part, s), torch.Generator())
        for f, s in zip(fields.split(2), ([5, 6], [7, 8]), strict=True)
    ]
    torch.testing.assert_close(whole, sum(halves) / 2)
    other = vae(model, Batch(fields, fields, part, [5, 6, 7, 9]), torch.Generator())
    assert whole != other
    with pytest.raises(ValueError, match="one for each"):
        vae(model, Batch(fields, fields, part), torch.Generator())


def test_a_network_learns_its_codes_and_their_variances(tmp_path):
    divergence = {}
    for beta in (1e-3, 1.0):
        model = make_network(variational=True, width=8)
        recipe = Recipe(epochs=25, batch=8, optimiser="muon", rate=0.05, objective="vae", beta=beta, augmentation=None)
        found = train(model, SAMPLES, N_VALIDATION, recipe, COMM)
        assert found.loss < 0.8 * found.history[0]["validation"]
        with torch.no_grad():
            codes = model.encode(torch.from_numpy(SAMPLES))
            log_variance = model.variance(codes)
            divergence[beta] = kl_from_unit(codes, log_variance).mean().item()
    assert divergence[1.0] < 0.5 * divergence[1e-3]
    files.save(tmp_path / "vae.safetensors", model, {})
    again, about = files.load(tmp_path / "vae.safetensors")
    assert about["options"]["variational"] is True
    assert torch.equal(again.variance(codes), log_variance)
    decoder = parallel_decoder(again, np.ones(SAMPLES[0].size), COMM)
    deviation = decoder.code_deviation(codes[0].numpy())
    np.testing.assert_allclose(deviation, (0.5 * log_variance[0]).exp().numpy(), rtol=1e-6)


def test_what_is_not_variational_says_so():
    model = make_network()
    with pytest.raises(ValueError, match="make it with variational=True"):
        train(model, SAMPLES, N_VALIDATION, Recipe(epochs=1, batch=8, objective="vae"), COMM)
    with pytest.raises(DecoderError, match="train it with objective: vae"):
        parallel_decoder(model, np.ones(SAMPLES[0].size), COMM).code_deviation(np.zeros(8))


@pytest.mark.parametrize("name", ["Tucodec-NeXt", "PCA-UNet", "Linear"])
def test_every_network_may_have_variances(name):
    plain, variational = (zoo.make(name, 2, SHAPE, n_latent=8, variational=v) for v in (False, True))
    assert plain.variance is None and variational.variance(torch.zeros(3, 8)).shape == (3, 8)
    added = {key for key in variational.state_dict() if key not in plain.state_dict()}
    assert added and all(key.startswith("variance.") for key in added)


def test_beta_belongs_to_a_training(tmp_path):
    recipe = Recipe(epochs=1, batch=8, objective="vae")
    train(make_network(variational=True), SAMPLES, N_VALIDATION, recipe, COMM, folder=tmp_path)
    with pytest.raises(files.ModelFileError, match="beta"):
        train(
            make_network(variational=True),
            SAMPLES,
            N_VALIDATION,
            replace(recipe, beta=0.02),
            COMM,
            folder=tmp_path,
            resume=1,
        )
