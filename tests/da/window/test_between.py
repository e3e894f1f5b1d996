"""States between two: a dense reference, both ends met, what is exact, what chooses, and ranks."""

import numpy as np
import pytest
from mpi4py import MPI

from da.window.between import MODES, RIDGES, learned_bridge

COMM = MPI.COMM_SELF


def waves(count, seed=0, noise=0.0):
    """(30, count) two waves that travel, too fast for linear interpolation, and noise."""
    rng, x, t = np.random.default_rng(seed), np.linspace(0.0, 6.0, 30)[:, None], np.arange(count)[None]
    return 3.0 + np.sin(x - 0.9 * t + seed) + 0.5 * np.cos(2.0 * x - 0.5 * t) + noise * rng.standard_normal((30, count))


@pytest.fixture(scope="module")
def bridge():
    return learned_bridge(waves(120, noise=0.02), [np.arange(60), np.arange(60, 120)], 3, COMM)


def test_waves_are_found_where_linear_interpolation_misses_them(bridge):
    truth = waves(4, seed=1)
    found = bridge.between(truth[:, 0], truth[:, 3], COMM)
    assert len(found) == 2 and bridge.errors[1] < 0.2 * bridge.errors[0]
    for k, state in enumerate(found, 1):
        linear = (1 - k / 3) * truth[:, 0] + k / 3 * truth[:, 3]
        assert np.linalg.norm(state - truth[:, k]) < 0.3 * np.linalg.norm(linear - truth[:, k])


def test_it_is_the_ridge_regression_of_what_linear_interpolation_leaves_out(bridge):
    states, m = waves(120, noise=0.02), bridge.modes.shape[1]
    mean = states.mean(axis=1)
    u, _, _ = np.linalg.svd(states - mean[:, None], full_matrices=False)
    codes = u[:, :m].T @ (states - mean[:, None])
    begin = np.concatenate([np.arange(57), np.arange(60, 117)])
    ends = np.concatenate([codes[:, begin], codes[:, begin + 3]])
    trace = np.trace(ends @ ends.T) / (2 * m)
    left = codes[:, begin + 1] - (2 * codes[:, begin] + codes[:, begin + 3]) / 3
    weights = left @ ends.T @ np.linalg.inv(ends @ ends.T + bridge.ridge * trace * np.eye(2 * m))
    truth = waves(4, seed=2)
    at = np.concatenate([u[:, :m].T @ (truth[:, k] - mean) for k in (0, 3)])
    expected = (2 * truth[:, 0] + truth[:, 3]) / 3 + u[:, :m] @ (weights @ at)
    np.testing.assert_allclose(bridge.between(truth[:, 0], truth[:, 3], COMM)[0], expected, atol=1e-8)
    assert m in (*MODES, len(states)) and bridge.ridge in RIDGES


def test_what_chooses_is_the_error_at_the_last_states():
    """Of a run whose last states are straight lines linear interpolation is exact: no modes."""
    states = np.concatenate([waves(50), waves(50)[:, -1:] + np.arange(1.0, 31.0) * np.ones((30, 1))], axis=1)
    bridge = learned_bridge(states, [np.arange(80)], 2, COMM)
    assert bridge.modes.shape == (30, 0) and bridge.errors[0] == bridge.errors[1] < 1e-6
    before, after = states[:, 0], states[:, 2]
    np.testing.assert_allclose(bridge.between(before, after, COMM)[0], 0.5 * (before + after), atol=1e-12)


def test_a_field_that_is_the_same_everywhere_stays_so():
    bridge = learned_bridge(np.ones((5, 30)), [np.arange(30)], 2, COMM)
    np.testing.assert_array_equal(bridge.between(np.ones(5), np.ones(5), COMM)[0], np.ones(5))


def test_ranks_agree(mpirun):
    mpirun(2, "tests/da/window/parallel_between.py")


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="1 steps between two states"):
        learned_bridge(waves(20), [np.arange(20)], 1, COMM)
    with pytest.raises(ValueError, match="runs of at most 6 states, to learn 2 between two takes 8; give longer"):
        learned_bridge(waves(12), [np.arange(6), np.arange(6, 12)], 3, COMM)
