"""Networks that forecast codes: they begin at the linear model, learn what is not linear, have right derivatives."""

import numpy as np
import pytest
import torch

from da.diagnostics.checks import adjoint_gap, whole_dot
from models.dynamics.linear import linear_dynamics
from models.dynamics.network import NETWORKS, NetworkDynamics, Recurrent, Residual
from models.dynamics.training import RollOuts, train_dynamics

SMALL = RollOuts(steps=3, before=4, noise=0.0, hidden=16, ridge=1e-4, epochs=60, rate=5e-3, weight_decay=1e-4)


def circling(n, seed=0):
    """Codes of a pendulum that does not turn over, (2, n)."""
    codes = np.empty((2, n))
    codes[:, 0] = np.random.default_rng(seed).uniform(-1.2, 1.2, 2)
    for k in range(1, n):
        angle, speed = codes[:, k - 1]
        speed = speed - 0.5 * np.sin(angle)
        codes[:, k] = angle + 0.5 * speed, speed
    return codes


def runs(first, count, n=30):
    return [circling(n, seed) for seed in range(first, first + count)]


def errors(dynamics, of, steps=3):
    """Mean square of forecasts of some steps, from every state with enough before it."""
    total, before = [], 4
    for run in of:
        for k in range(before, run.shape[1] - steps):
            state = dynamics.warmed_up(run[:, k - before : k + 1].T) if hasattr(dynamics, "warmed_up") else run[:, k]
            for _ in range(steps):
                state = dynamics.step(state)
            total.append(np.sum((state[: len(run)] - run[:, k + steps]) ** 2))
    return np.mean(total)


def some(kind, seed=1):
    """A network whose last layer is not zero."""
    rng = np.random.default_rng(seed)
    before = rng.normal(size=(3, 50))
    linear = linear_dynamics(before, 0.8 * before + 0.1 * rng.normal(size=(3, 50)))
    module = NETWORKS[kind](linear, np.array([1.0, 2.0, 0.5]), 5, seed)
    with torch.no_grad():
        module.layers[-1].weight.normal_(0.0, 0.5)
    return linear, NetworkDynamics(module, np.eye(3)), rng.normal(size=(3, 3 + module.n_memory))


@pytest.mark.parametrize("kind", NETWORKS)
def test_an_untrained_one_is_the_linear_model(kind):
    linear, found, (at, _, _) = some(kind)
    fresh = NetworkDynamics(NETWORKS[kind](linear, np.ones(3), 5, 1), np.eye(3))
    np.testing.assert_allclose(fresh.step(at)[:3], linear.step(at[:3]), atol=1e-12)
    assert np.abs(found.step(at)[:3] - linear.step(at[:3])).max() > 1e-2


@pytest.mark.parametrize("kind", NETWORKS)
def test_derivatives(kind):
    _, found, (at, p, q) = some(kind)
    value, slope = found.step(at), found.tangent(p, at)
    remainder = [np.linalg.norm(found.step(at + h * p) - value - h * slope) for h in (1e-3, 1e-4)]
    assert 90.0 < remainder[0] / remainder[1] < 110.0
    gap = adjoint_gap(lambda v: found.tangent(v, at), lambda w: found.adjoint(w, at), p, q, whole_dot, whole_dot)
    assert gap < 1e-13


@pytest.mark.parametrize("kind", NETWORKS)
def test_many_codes_are_each_alone(kind):
    _, found, states = some(kind)
    together = found.step(states.T)
    for k, state in enumerate(states):
        np.testing.assert_allclose(together[:, k], found.step(state), atol=1e-13)
    codes = np.random.default_rng(2).normal(size=(6, 3, 4))
    warmed = found.warmed_up(codes)
    assert warmed.shape == (3 + found.n_memory, 4)
    np.testing.assert_array_equal(warmed[:3], codes[-1])
    np.testing.assert_allclose(warmed[:, 1], found.warmed_up(codes[:, :, 1]), atol=1e-13)


def test_residual_learns_what_is_not_linear():
    known, judged, other = runs(0, 12), runs(50, 3), runs(80, 6)
    found = train_dynamics("residual", known, judged, SMALL)
    early, late = (np.concatenate([run[:, part] for run in known], axis=1) for part in (slice(0, -1), slice(1, None)))
    assert errors(found.dynamics, other) < 0.1 * errors(linear_dynamics(early, late, SMALL.ridge), other)
    assert (
        found.history.shape[1] == 2 and found.history[found.epoch, 1] == found.history[:, 1].min() < found.history[0, 1]
    )
    residual = np.concatenate([run[:, 1:] - found.dynamics.step(run[:, :-1]) for run in judged], axis=1)
    np.testing.assert_allclose(found.dynamics.noise, residual @ residual.T / residual.shape[1], rtol=1e-9)


def test_recurrent_learns_what_codes_alone_do_not_say():
    # of the pendulum the angle alone: which way it moves is in what was before
    known, judged, other = ([run[:1] for run in part] for part in (runs(0, 12), runs(50, 3), runs(80, 6)))
    found = {kind: train_dynamics(kind, known, judged, SMALL).dynamics for kind in NETWORKS}
    assert errors(found["recurrent"], other) < 0.3 * errors(found["residual"], other)


def test_the_same_seed_is_the_same_network_and_another_is_not():
    known, judged = runs(0, 3), runs(50, 1)
    few = RollOuts(**{**SMALL.__dict__, "epochs": 2})
    first, again = (train_dynamics("residual", known, judged, few).dynamics for _ in range(2))
    other = train_dynamics("residual", known, judged, RollOuts(**{**few.__dict__, "seed": 1})).dynamics
    at = known[0][:, 3]
    np.testing.assert_array_equal(first.step(at), again.step(at))
    assert np.any(first.step(at) != other.step(at))


def test_validation_that_never_falls_keeps_the_linear_model():
    rng = np.random.default_rng(0)
    known = [np.cumsum(rng.normal(size=(2, 40)), axis=1)]
    found = train_dynamics("residual", known, [-known[0]], RollOuts(**{**SMALL.__dict__, "patience": 3, "rate": 0.1}))
    assert found.epoch == np.argmin(found.history[:, 1])
    if found.epoch == 0:
        linear = linear_dynamics(known[0][:, :-1], known[0][:, 1:], SMALL.ridge)
        np.testing.assert_allclose(found.dynamics.step(known[0][:, 5]), linear.step(known[0][:, 5]), atol=1e-12)


def test_what_is_wrong_is_told():
    known = runs(0, 2, n=6)
    with pytest.raises(ValueError, match="dynamics 'spectral', expected one of residual, recurrent"):
        train_dynamics("spectral", known, known, SMALL)
    with pytest.raises(ValueError, match="runs of at most 6 states, a roll-out needs 7"):
        train_dynamics("recurrent", known, known, SMALL)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the loss is nan"):
        train_dynamics("residual", runs(0, 2), runs(0, 2), RollOuts(**{**SMALL.__dict__, "rate": 1e200}))


def test_types_of_networks():
    assert isinstance(some("residual")[1].module, Residual) and isinstance(some("recurrent")[1].module, Recurrent)
