import numpy as np
import pytest
import torch
from mpi4py import MPI
from scipy.sparse import csr_matrix
from training_problem import MASK, N_VALIDATION, SHAPE, make_samples

from models.gridding import InverseDistanceGridding
from models.training.augmentation import Augmentation
from models.training.loop import train
from models.training.recipe import Recipe
from models.training.sensors import OwnSensors, SensorDraws
from models.zoo.linear import Linear
from models.zoo.observation_encoder import ObservationEncoder

GRID = InverseDistanceGridding((3.0, 2.0, 1.0), np.broadcast_to(MASK, (2, *SHAPE)))


def own(points=(5, 40, 77, 200), channel=(0, 1, 1, 0), noise=0.1):
    points, channel = np.array(points), np.array(channel)
    size = MASK.size
    reading = csr_matrix((np.ones(len(points)), (np.arange(len(points)), channel * size + points)), (4, 2 * size))
    return OwnSensors(GRID.places[points], channel, reading, np.full(len(points), noise))


def recipe(draws, **changes):
    return Recipe(**{"epochs": 3, "batch": 8, "optimiser": "muon", "rate": 5e-3, "augmentation": draws, **changes})


def drawn(draws, samples, seed=0, epoch=1):
    return draws.apply(torch.from_numpy(samples), np.arange(len(samples)), seed, epoch)


def test_what_is_seen_depends_on_seed_epoch_and_number_alone():
    samples, draws = make_samples(6), SensorDraws(GRID, (3, 30))
    seen, target = drawn(draws, samples)
    assert seen.shape == (6, 4, *SHAPE) and torch.equal(target, torch.from_numpy(samples))
    part, _ = draws.apply(torch.from_numpy(samples[2:4]), np.array([2, 3]), 0, 1)
    assert torch.equal(part, seen[2:4])
    for other in (drawn(draws, samples, seed=1), drawn(draws, samples, epoch=2)):
        assert not torch.equal(other[0], seen)


def test_numbers_variables_and_noise_vary():
    draws = SensorDraws(GRID, (1, 50), noise=(1e-6, 2e-6))
    rng = np.random.default_rng(0)
    sets = [draws._places(rng) for _ in range(300)]
    counts = np.array([len(channel) for _, channel in sets])
    assert counts.min() == 1 and 60 < counts.max() <= 100 and np.median(counts) < 20
    assert {tuple(np.unique(channel)) for _, channel in sets} == {(0,), (1,), (0, 1)}
    for point, channel in sets:
        assert MASK.ravel()[point].all() and len(set(zip(point, channel, strict=True))) == len(point)
    # half of the sets are near the ground
    heights = [GRID.places[point, 2].mean() for point, _ in sets]
    assert np.mean(heights) < 0.8 * GRID.places[MASK.ravel(), 2].mean()
    # without noise to speak of a sensor's point has its value
    field = make_samples(1)[0]
    seen = SensorDraws(GRID, (1, 1), noise=(1e-6, 2e-6)).observe(field, rng)[0]
    for c in range(2):
        if seen[2 + c].any():
            at = np.unravel_index(np.argmax(seen[2 + c]), SHAPE)
            assert seen[c][at] == pytest.approx(field[c][at], abs=1e-4)


def test_own_sensors_are_drawn_with_some_missing():
    draws = SensorDraws(GRID, (300, 310), own=(own(noise=0.0),), own_share=0.6)
    rng, field = np.random.default_rng(0), make_samples(1)[0]
    nearness = np.array([draws.observe(field, rng)[0, 2:].ravel() for _ in range(200)])
    at = np.array([5, MASK.size + 40, MASK.size + 77, 200])
    # random sets are of nearly all points of a variable
    few = (nearness == 1.0).sum(axis=1) < 5
    assert 0.5 < few.mean() < 0.7
    there = nearness[few][:, at] == 1.0
    assert 0.6 < there.mean() < 0.9 and (there.sum(axis=1) == 4).any()
    seen = SensorDraws(GRID, own=(own(noise=0.0),), own_share=1.0).observe(field, np.random.default_rng(1))[0]
    values = field.ravel()[at].astype(np.float64)
    assert np.abs(seen[:2][seen[:2] != 0.0][:, None] - values).min() < 1e-12


def test_validation_is_observed_and_not_augmented():
    samples = make_samples(6)
    draws = SensorDraws(GRID, before=Augmentation(noise=(0.0, 0.0), combine=1.0))
    _, target = drawn(draws, samples, epoch=0)
    assert torch.equal(target, torch.from_numpy(samples))
    _, target = drawn(draws, samples, epoch=1)
    assert not torch.equal(target, torch.from_numpy(samples))


@pytest.fixture(scope="module")
def problem():
    """Smooth fields of few patterns, and an autoencoder that is exact for them."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    patterns = [np.stack([np.sin(0.2 * k * x + y * 0.3), np.cos(0.25 * k * x - 0.4 * z)]) * MASK for k in range(1, 5)]
    basis = np.linalg.qr(np.stack([p.ravel() for p in patterns], axis=1))[0].astype(np.float32)
    amplitudes = np.random.default_rng(0).standard_normal((40, 4)) * MASK.size**0.5
    samples = (amplitudes @ basis.T).astype(np.float32).reshape(40, 2, *SHAPE)
    return Linear(2, SHAPE, 4, basis, MASK), samples


def test_learns(problem):
    network, samples = problem
    encoder = ObservationEncoder(network, GRID.spacing, width=4)
    draws = SensorDraws(GRID, (10, 60), noise=(0.3, 0.5))
    found = train(encoder, samples, N_VALIDATION, recipe(draws, epochs=4, batch=2, rate=2e-2), MPI.COMM_SELF)
    losses = [record["validation"] for record in found.history]
    assert found.loss < 0.7 * losses[0]
    assert torch.equal(encoder.given.factors, network.factors)


def test_a_resume_is_the_same_to_the_last_bit(problem, tmp_path):
    draws = SensorDraws(GRID, own=(own(),), before=Augmentation(noise=(0.0, 0.0), combine=0.5))
    network, samples = problem

    def run(folder, epochs, resume=None):
        encoder = ObservationEncoder(network, GRID.spacing, width=4)
        how = recipe(draws, schedule="constant", epochs=epochs)
        found = train(encoder, samples, N_VALIDATION, how, MPI.COMM_SELF, folder=folder, resume=resume)
        return encoder, [{k: v for k, v in record.items() if k != "seconds"} for record in found.history]

    whole, history = run(tmp_path / "whole", 3)
    run(tmp_path / "parts", 2)
    parts, resumed = run(tmp_path / "parts", 3, resume=2)
    assert resumed == history
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
