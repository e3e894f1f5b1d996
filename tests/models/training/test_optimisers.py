import pytest
import torch
from training_problem import make_network

from models.training.optimisers import Muon, make_optimisers, orthogonal


def groups(model, name, rate=None):
    names = {id(weight): key for key, weight in model.named_parameters()}
    for optimiser in make_optimisers(model, name, rate, 0.01):
        for group in optimiser.param_groups:
            yield type(optimiser).__name__, group, {names[id(weight)] for weight in group["params"]}


def test_convolutions_decay_and_nothing_else_does():
    model = make_network("Tucodec-NeXt")
    (_, decayed, weights), (_, kept, others) = groups(model, "adamw")
    assert decayed["weight_decay"] == 0.01 and kept["weight_decay"] == 0.0
    assert weights | others == set(dict(model.named_parameters())) and not weights & others
    assert all(dict(model.named_parameters())[key].ndim == 5 for key in weights)
    assert {"encoder.stages.0.1.raw_gamma", "encoder.stages.0.1.raw_beta"} <= others
    assert decayed["peak"] == kept["peak"] == 2e-3


def test_muon_takes_matrices_and_adamw_the_rest():
    found = list(groups(make_network("Tucodec-NeXt"), "muon", 0.01))
    muon = [(group, weights) for kind, group, weights in found if kind == "Muon"]
    assert len(muon) == 1 and muon[0][0]["peak"] == 0.01
    assert all(key.endswith("weight") for key in muon[0][1]) and "encoder.last.weight" in muon[0][1]
    rest = [group for kind, group, _ in found if kind == "AdamW"]
    assert rest and all(group["peak"] == pytest.approx(0.001) for group in rest)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (8, 8)])
def test_steps_are_nearly_orthogonal(shape):
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -1, shape[1]))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    singular = torch.linalg.svdvals(left.T @ orthogonal(matrix) @ right.T)
    assert 0.6 < singular.min() and singular.max() < 1.3
    assert torch.linalg.norm(orthogonal(matrix) - left @ right) < 0.3 * torch.linalg.norm(left @ right)


def test_muon_finds_weak_directions_soon():
    target, x = torch.randn(6, 6), torch.randn(200, 6) * torch.logspace(0, -2, 6)
    weight = torch.zeros(6, 6, requires_grad=True)
    muon = Muon([weight], 0.05)
    for step in range(400):
        muon.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        weight.grad = None
        ((x @ weight.T - x @ target.T) ** 2).mean().backward()
        muon.step()
    assert torch.linalg.norm(weight.detach() - target) < 0.2 * torch.linalg.norm(target)
