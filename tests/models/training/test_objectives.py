"""Objectives against closed forms of the linear autoencoder."""

import pytest
import torch
from training_problem import MASK, SHAPE, make_network, make_samples

from models.training.objectives import COMBINATION, GAUSSIAN, OBJECTIVES, Batch, objective_of
from models.training.recipe import Recipe
from models.zoo.linear import Linear

FIELDS = torch.randn(6, 2, 4, 3, 2, dtype=torch.float64)
PART = (torch.rand(2, 4, 3, 2) > 0.3).double()


@pytest.fixture
def linear():
    return Linear(2, (4, 3, 2), 5, torch.linalg.qr(torch.randn(48, 5, dtype=torch.float64))[0])


def loss(name, model, seen=FIELDS, fields=FIELDS, part=PART, seed=0):
    return OBJECTIVES[name](model, Batch(seen, fields, part), torch.Generator().manual_seed(seed))


def left(model, fields, part=PART):
    """Mean square of x − W Wᵀ x where values take part."""
    x = fields.flatten(1)
    rest = (x - x @ model.factors @ model.factors.T)[:, part.flatten() > 0]
    return (rest**2).mean().item()


def test_reconstruction(linear):
    assert loss("reconstruction", linear).item() == pytest.approx(left(linear, FIELDS), rel=1e-12)
    noisy = FIELDS + 0.1
    back = linear(noisy)
    expected = ((back - FIELDS) ** 2)[:, PART > 0].mean().item()
    assert loss("reconstruction", linear, noisy).item() == pytest.approx(expected, rel=1e-12)


def test_relative(linear):
    x = FIELDS.flatten(1)
    rest = ((x - x @ linear.factors @ linear.factors.T) * PART.flatten()).norm(dim=1)
    expected = (rest / (x * PART.flatten()).norm(dim=1)).mean().item()
    assert loss("relative", linear).item() == pytest.approx(expected, rel=1e-2)
    # amplitudes do not count, down to the mean itself, where it stays finite and has a slope of zero
    sizes = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0, 16.0]).double().reshape(-1, 1, 1, 1, 1)
    assert loss("relative", linear, sizes * FIELDS, sizes * FIELDS).item() == pytest.approx(expected, rel=1e-2)
    still = torch.zeros_like(FIELDS).requires_grad_()
    loss("relative", linear, still, torch.zeros_like(FIELDS)).backward()
    assert torch.equal(still.grad, torch.zeros_like(FIELDS))


def test_combination(linear):
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 6**0.5
    combined = torch.einsum("ij,j...->i...", weights, FIELDS)
    expected = left(linear, FIELDS) + COMBINATION * left(linear, combined)
    assert loss("combination", linear, seed=3).item() == pytest.approx(expected, rel=1e-5)
    # of fields within the span nothing is left
    within = linear(FIELDS)
    assert loss("combination", linear, within, within).item() < 1e-10


def test_gaussian(linear):
    codes = FIELDS.flatten(1) @ linear.factors
    mean, variance = codes.mean(0), codes.var(0, unbiased=False)
    expected = left(linear, FIELDS) + GAUSSIAN * 0.5 * (mean**2 + variance - 1 - variance.log()).mean().item()
    assert loss("gaussian", linear).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("network", ["Tucodec-NeXt", "Tucodec-NeXt-GDN", "RAB-1-NeXt+CBAM", "GRDN-vanilla"])
def test_gradients_are_finite_and_reach_all_weights(name, network):
    model = make_network(network, variational=name == "vae")
    fields = torch.from_numpy(make_samples(4))
    part = torch.as_tensor(MASK).float().expand(2, *SHAPE)
    asked = objective_of(Recipe(objective=name), make_network(network, seed=1).eval() if name == "distilled" else None)
    found = asked(model, Batch(fields, fields, part, range(4)), torch.Generator())
    found.backward()
    assert torch.isfinite(found)
    for key, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key


def test_distilled(linear):
    teacher = Linear(2, (4, 3, 2), 5, torch.linalg.qr(torch.randn(48, 5, dtype=torch.float64))[0])
    asked = objective_of(Recipe(objective="distilled"), teacher)
    batch = Batch(FIELDS, FIELDS, PART)

    def apart(found, expected, part):
        at = part.flatten() > 0
        rest, size = ((x.flatten(1)[:, at] ** 2).mean(1) for x in (found - expected, expected))
        return ((rest + 0.03**4) / (size + 0.03**2)).sqrt().mean().item()

    code, taught = linear.encode(FIELDS), teacher.encode(FIELDS)
    expected = apart(linear.decode(code), FIELDS, PART) + apart(linear.decode(code), teacher.decode(taught), PART)
    expected += apart(code, taught, torch.ones(5))
    assert asked(linear, batch, torch.Generator()).item() == pytest.approx(expected, rel=1e-10)
    # one's own teacher adds almost nothing
    own = objective_of(Recipe(objective="distilled"), linear)
    assert own(linear, batch, torch.Generator()).item() == pytest.approx(loss("relative", linear).item(), abs=0.01)


def test_a_teacher_is_for_who_learns_from_one(linear):
    for objective, teacher in (("distilled", None), ("relative", linear)):
        with pytest.raises(ValueError, match="distilled has one"):
            objective_of(Recipe(objective=objective), teacher)


def test_values_that_take_no_part_count_nothing(linear):
    other = FIELDS + 5.0 * (1.0 - PART)
    assert loss("reconstruction", linear, FIELDS, other).item() == pytest.approx(left(linear, FIELDS), rel=1e-12)
