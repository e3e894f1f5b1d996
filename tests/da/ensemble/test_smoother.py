"""Readings and states of several times, against the Kalman filter and the Rauch–Tung–Striebel smoother.

A linear model without noise, more members than values: members' covariances are then those of the smoother, whole.
"""

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import relative_difference

from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.ensemble.envar import envar
from da.ensemble.smoother import smoothed
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF
N, N_MEMBERS, TIMES, STD = 6, 9, 5, 0.2


@pytest.fixture(scope="module")
def world():
    """(model, members at the start, H, readings by time)."""
    rng = np.random.default_rng(3)
    model = np.linalg.qr(rng.normal(size=(N, N)))[0] * 1.02
    h = rng.normal(size=(2, N))
    return model, rng.normal(size=(N, N_MEMBERS)), h, rng.normal(size=(TIMES, 2))


def readings_of(states, h, values):
    """EnsembleReadings of some times at once: states is a list of (N, N_MEMBERS), values of (2,)."""
    seen = np.concatenate([h @ members for members in states])
    m = len(seen)
    return EnsembleReadings(
        np.concatenate(values) - mean_of(seen), anomalies_of(seen), diagonal_error(np.full(m, STD), slice(None)),
        np.zeros((m, 3)), np.full(m, "x"),
    )  # fmt: skip


def smoother(model, members, h, values):
    """Means (TIMES, N) and covariances (TIMES, N, N) of Kalman filter and RTS smoother; the start is the first time."""
    mean, covariance = mean_of(members), np.cov(members)
    filtered = []
    for k, y in enumerate(values):
        if k:
            mean, covariance = model @ mean, model @ covariance @ model.T
        gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + STD**2 * np.eye(len(h)))
        mean, covariance = mean + gain @ (y - h @ mean), covariance - gain @ h @ covariance
        filtered.append((mean, covariance))
    after = [filtered[-1]]
    for mean, covariance in filtered[-2::-1]:
        ahead = model @ covariance @ model.T
        back = covariance @ model.T @ np.linalg.inv(ahead)
        mean_after, covariance_after = after[0]
        after.insert(
            0, (mean + back @ (mean_after - model @ mean), covariance + back @ (covariance_after - ahead) @ back.T)
        )
    return after


def runs(model, members):
    states = [members]
    while len(states) < TIMES:
        states.append(model @ states[-1])
    return states


def assert_is(members, expected):
    mean, covariance = expected
    assert relative_difference(mean_of(members), mean) < 1e-10
    assert relative_difference(np.cov(members), covariance) < 1e-10


def test_4denvar_is_the_kalman_smoother(world):
    """One window with readings at their own times: every state of it has the smoother's mean and covariance."""
    model, members, h, values = world
    states = runs(model, members)
    update = envar(readings_of(states, h, values), COMM)
    for (time, after), expected in zip(
        smoothed([update], enumerate(states)), smoother(model, members, h, values), strict=True
    ):
        assert_is(after, expected)
        assert relative_difference(after, np.linalg.matrix_power(model, int(time)) @ update.state(members)) < 1e-10


def test_updates_of_windows_in_turn_are_the_smoother(world):
    """A window for each time; states of before follow all updates since."""
    model, members, h, values = world
    current, kept, updates = members, [], []
    for k, y in enumerate(values):
        current = model @ current if k else current
        kept.append(current)
        updates.append(envar(readings_of([current], h, [y]), COMM))
        current = updates[-1].state(current)
    for k, expected in enumerate(smoother(model, members, h, values)):
        ((time, after),) = smoothed(updates[k:], [(float(k), kept[k])])
        assert time == k
        assert_is(after, expected)
