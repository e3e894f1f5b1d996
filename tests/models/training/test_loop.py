"""The epochs: what is learnt, kept and gone on from; what ends them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mpi4py import MPI
from training_problem import MASK, N_VALIDATION, make_network, make_samples

from models import zoo
from models.files import ModelFileError, load
from models.layers.norm import BatchNorm
from models.training.augmentation import Augmentation
from models.training.errors import TrainingError
from models.training.evaluation import codes_and_round_trips
from models.training.loop import train
from models.training.recipe import Recipe, rate_factor
from models.training.state import kept_epochs
from models.zoo.linear import Linear

COMM = MPI.COMM_SELF
RECIPE = Recipe(epochs=4, batch=8)
SAMPLES = make_samples()


class Stopped(Exception):
    pass


def stop_after(epoch):
    def told(history):
        if history[-1]["epoch"] == epoch:
            raise Stopped

    return told


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_a_network_learns():
    model = make_network(width=8)
    seen = []
    recipe = replace(RECIPE, epochs=25, optimiser="muon", rate=0.05)
    found = train(model, SAMPLES, N_VALIDATION, recipe, COMM, stepped=lambda *of: seen.append(of))
    losses = [record["validation"] for record in found.history]
    assert found.loss == min(losses) < 0.7 * losses[0] and losses[found.epoch - 1] == found.loss
    assert [record["epoch"] for record in found.history] == list(range(1, 26))
    assert seen[:4] == [(1, 4), (2, 4), (3, 4), (4, 4)] and len(seen) == 100
    assert not model.training and found.device.startswith("1 × ")
    # the best weights are there, and their error is the one told
    part = np.broadcast_to(MASK, SAMPLES.shape[1:])
    codes, trips = codes_and_round_trips(model, SAMPLES, COMM, part)
    assert codes.shape == (8, 40) and codes.dtype == np.float32
    error = np.sqrt(np.mean(trips[-N_VALIDATION:] ** 2))
    assert error == pytest.approx(found.history[found.epoch - 1]["error"], rel=1e-5)
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(SAMPLES[:3])).numpy().T
    np.testing.assert_allclose(codes[:, :3], expected, atol=1e-5)


def test_the_same_again_and_another_seed():
    first, again, other = (
        train(make_network(), SAMPLES, N_VALIDATION, replace(RECIPE, epochs=2, seed=seed), COMM) for seed in (1, 1, 2)
    )
    keys = ("train", "validation", "error", "gradient", "rate")
    assert [[r[key] for key in keys] for r in first.history] == [[r[key] for key in keys] for r in again.history]
    assert first.loss != other.loss


@pytest.mark.parametrize(
    "network, changes",
    [
        ("Backbone", {}),
        ("Backbone-GDN", {"optimiser": "muon", "objective": "combination", "schedule": "constant"}),
        ("Backbone", {"settle": 0.5, "augmentation": Augmentation(flip=0.5), "clip": None}),
        ("Backbone", {"objective": "vae", "beta": 0.1}),
        ("Backbone", {"objective": "adversarial", "discriminator": 0.1}),
        ("Backbone", {"objective": "distilled"}),
    ],
)
def test_a_resumed_training_is_the_same_to_the_last_bit(tmp_path, network, changes):
    recipe = replace(RECIPE, **changes)
    whole, stopped, resumed = (make_network(network, variational=recipe.objective == "vae") for _ in range(3))
    more = {"teacher": make_network(seed=5)} if recipe.objective == "distilled" else {}
    train(whole, SAMPLES, N_VALIDATION, recipe, COMM, **more)
    with pytest.raises(Stopped):
        train(stopped, SAMPLES, N_VALIDATION, recipe, COMM, folder=tmp_path, after_epoch=stop_after(2), **more)
    found = train(resumed, SAMPLES, N_VALIDATION, recipe, COMM, folder=tmp_path, resume=2, **more)
    assert [record["epoch"] for record in found.history] == [1, 2, 3, 4]
    for key, value in weights(whole).items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_every_kth_state_stays_and_can_be_gone_on_from(tmp_path):
    recipe = replace(RECIPE, epochs=5)
    train(make_network(), SAMPLES, N_VALIDATION, recipe, COMM, folder=tmp_path, every=2)
    assert kept_epochs(tmp_path) == [2, 4, 5]
    network, about = load(tmp_path / "epoch-0004.safetensors")
    assert about["epoch"] == 4 and about["seed"] == 0 and network.n_latent == 8
    last = load(tmp_path / "epoch-0005.safetensors")[0].state_dict()
    kept = []
    words = {"folder": tmp_path, "every": 2, "after_epoch": lambda history: kept.append(kept_epochs(tmp_path))}
    train(make_network(), SAMPLES, N_VALIDATION, recipe, COMM, **words, resume=2)
    assert kept == [[2, 3], [2, 4], [2, 4, 5]]
    again = load(tmp_path / "epoch-0005.safetensors")[0].state_dict()
    assert all(torch.equal(value, again[key]) for key, value in last.items())


def test_nothing_is_left_to_do(tmp_path):
    first, again = make_network(), make_network()
    found = train(first, SAMPLES, N_VALIDATION, RECIPE, COMM, folder=tmp_path)
    repeated = train(again, SAMPLES, N_VALIDATION, RECIPE, COMM, folder=tmp_path, resume=4)
    assert repeated.history == found.history and repeated.epoch == found.epoch
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize(
    "changes, about, told",
    [
        ({"seed": 1}, {}, "another seed: 0, expected 1"),
        ({"batch": 4}, {}, "another batch: 8, expected 4"),
        ({"optimiser": "muon"}, {}, "another optimiser: adamw, expected muon"),
        ({}, {"states": "cd"}, "another states: ab, expected cd"),
    ],
)
def test_a_state_of_another_training_is_refused(tmp_path, changes, about, told):
    words = {"folder": tmp_path, "about": {"states": "ab"}}
    train(make_network(), SAMPLES, N_VALIDATION, replace(RECIPE, epochs=1), COMM, **words)
    words["about"] |= about
    with pytest.raises(ModelFileError, match=told):
        train(make_network(), SAMPLES, N_VALIDATION, replace(RECIPE, **changes), COMM, **words, resume=1)
    with pytest.raises(ModelFileError, match="no state of epoch 3; kept are: 1"):
        train(make_network(), SAMPLES, N_VALIDATION, RECIPE, COMM, **words, resume=3)
    with pytest.raises(ModelFileError, match="another options: .*expected"):
        train(make_network(width=8), SAMPLES, N_VALIDATION, RECIPE, COMM, **words | {"about": {}}, resume=1)


def test_training_ends_early():
    found = train(make_network(), SAMPLES, N_VALIDATION, replace(RECIPE, epochs=50, patience=2, rate=1e-12), COMM)
    assert len(found.history) == found.epoch + 2 < 50


def test_a_loss_that_is_no_number(tmp_path):
    broken = SAMPLES.copy()
    broken[3, 0, 0, 0, 0] = np.inf
    with pytest.raises(TrainingError, match="epoch 1: the loss is nan.*rate than 0.002"):
        train(make_network(), broken, N_VALIDATION, RECIPE, COMM, folder=tmp_path)
    assert not kept_epochs(tmp_path)


def test_batch_norm_settles():
    model, seen = make_network(), []

    def after_epoch(history):
        seen.append(next(m for m in model.modules() if isinstance(m, BatchNorm)).running_mean.clone())

    train(model, SAMPLES, N_VALIDATION, replace(RECIPE, settle=0.5), COMM, after_epoch=after_epoch)
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2]) and torch.equal(seen[2], seen[3])


def test_rates():
    assert rate_factor("constant", 0.5) == rate_factor("constant", 1.0) == 1.0
    assert 0.0 < rate_factor("constant", 0.0) < 0.1
    cosine = [rate_factor("cosine", passed) for passed in (0.02, 0.5, 1.0)]
    assert cosine == pytest.approx([1.0, 0.5, 0.01], abs=0.01)


@pytest.mark.parametrize(
    "model, samples, changes, told",
    [
        (make_network(), SAMPLES[:, :1], {}, r"samples of shape \(40, 1, 17, 5, 4\), expected \(S, 2, 17, 5, 4\)"),
        (make_network(), SAMPLES[:9], {}, "8 of 9 samples for validation"),
        (Linear(2, SAMPLES.shape[2:], 3), SAMPLES, {}, "Linear has no weights to train"),
        (make_network(), SAMPLES, {"schedule": "cosin"}, "unknown schedule 'cosin' .nearest: 'cosine'"),
        (make_network(), SAMPLES, {"precision": "float16"}, "unknown precision 'float16'"),
        (make_network(), SAMPLES, {"objective": "mse"}, "unknown objective 'mse'"),
        (make_network(), SAMPLES, {"optimiser": "sgd"}, "unknown optimiser 'sgd'"),
    ],
)
def test_what_does_not_fit_is_told(model, samples, changes, told):
    with pytest.raises(ValueError, match=told):
        train(model, samples, N_VALIDATION, replace(RECIPE, **changes), COMM)


def test_samples_from_a_network_of_ones_own():
    samples = SAMPLES[:, :, :16]  # it takes an even number of points
    model = zoo.make("own_networks:Plain", 2, samples.shape[2:], mask=MASK[:16])
    found = train(model, samples, N_VALIDATION, replace(RECIPE, rate=1e-2), COMM)
    assert found.loss < found.history[0]["train"]


def test_ranks_do_what_one_does(mpirun, tmp_path):
    mpirun(2, "tests/models/training/parallel_training.py", tmp_path)
