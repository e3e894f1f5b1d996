"""Lorenz-96 as in Sakov & Oke 2008 (Tellus 60A, 361), with the static methods that it is compared with.

40 variables, F = 8, steps of 0.05 by Runge–Kutta 4, all variables read at each step with R = I (after Lorenz &
Emanuel 1998). For these settings the benchmark package DAPPER (Raanes, Chen & Grudzien 2024, J. Open Source Softw.
9, 5150; dapper/mods/Lorenz96/sakov2008.py) tells the mean rmse of the analyses:

    climatology                                                   3.6
    optimal interpolation from the climatology's mean             0.95
    3D-Var, B = 0.02 of the climatology's covariance              0.41

The climatology here is that of a run of the model's own, as a user has it, and B is made of its snapshots.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from lorenz_96 import FORCING, N, run, stepped
from lorenz_96 import mean_rmse as rmse_after
from mpi4py import MPI

from da.analysis import analyse, prepare
from da.background.linear_transform import LinearTransform
from da.background.modes import truncated_modes
from da.diagnostics.desroziers import error_estimates
from da.diagnostics.posterior import posterior, state_std
from da.minimisation.hessian import ObservationHessian
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF
ANALYSES, BURN_IN = 1400, 400
CLIMATOLOGY, OPTIMAL_INTERPOLATION, VARIATIONAL = 3.6, 0.95, 0.41


@dataclass(frozen=True)
class World:
    truth: np.ndarray
    readings: np.ndarray
    mean: np.ndarray
    snapshots: np.ndarray
    transform: LinearTransform


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(2008)
    snapshots = run(FORCING + rng.normal(size=N), 10500)[500::10].T
    truth = run(FORCING + rng.normal(size=N), 500 + ANALYSES)[500:]
    modes = truncated_modes(snapshots, COMM, N)
    return World(truth, truth + rng.normal(size=truth.shape), modes.mean, snapshots, LinearTransform(modes, None, COMM))


def cycled(world, weight, forecast):
    """Analyses and innovations and residuals of all times, (ANALYSES, N) each."""
    operator, error = selection(np.arange(N), N, COMM), diagonal_error(np.ones(N), slice(0, N))
    hessian = prepare(world.transform, operator, error, COMM, weight)
    found, innovations, x = [], [], world.mean
    for y in world.readings:
        background = forecast(x)
        innovations.append(y - background)
        analysis = analyse(
            world.transform, operator, error, innovations[-1], COMM, background_weight=weight, hessian=hessian
        )
        x = background + analysis.increment
        found.append(x)
    return np.array(found), np.array(innovations), world.readings - np.array(found)


def mean_rmse(states, truth):
    return rmse_after(states, truth, BURN_IN)


@pytest.fixture(scope="module")
def variational(world):
    return cycled(world, 1.0 / 0.02, stepped)


def test_the_model_has_its_climatology(world):
    assert mean_rmse(world.mean, world.truth) == pytest.approx(CLIMATOLOGY, abs=0.1)


def test_optimal_interpolation(world):
    states, innovations, residuals = cycled(world, 1.0, lambda x: world.mean)
    found = mean_rmse(states, world.truth)
    assert found == pytest.approx(OPTIMAL_INTERPOLATION, abs=0.04)
    # here B and R are those of the errors: what is told of them is what they are
    operator, error = selection(np.arange(N), N, COMM), diagonal_error(np.ones(N), slice(0, N))
    of = posterior(ObservationHessian(world.transform, operator, error, COMM).information)
    assert np.sqrt(np.mean(state_std(of, world.transform) ** 2)) == pytest.approx(found, abs=0.02)
    n = len(innovations)
    told = error_estimates(innovations.ravel(), residuals.ravel(), ["all"] * n * N, np.repeat(np.arange(n), N))["all"]
    # a run of 70 time units has not quite the climatology's covariance
    assert told.observation.variance == pytest.approx(1.0, abs=0.1)
    assert told.background.variance == pytest.approx(np.var(world.snapshots, axis=1).mean(), rel=0.05)


def test_cycled_3dvar(world, variational):
    assert mean_rmse(variational[0], world.truth) == pytest.approx(VARIATIONAL, abs=0.03)


def test_cycled_3dvar_is_the_gain_in_state_space(world, variational):
    """The same cycle by the textbook's formula, over the time in which rounding stays small."""
    b = 0.02 * np.cov(world.snapshots)
    gain = b @ np.linalg.inv(b + np.eye(N))
    x = world.mean
    for k, y in enumerate(world.readings[:100]):
        x = stepped(x)
        x = x + gain @ (y - x)
        np.testing.assert_allclose(variational[0][k], x, rtol=0, atol=1e-9)


def test_another_b_does_worse(world, variational):
    """The published factor is near the best one: neither the whole climatology nor a tenth of it does as well."""
    best = mean_rmse(variational[0], world.truth)
    for factor in (1.0, 0.002):
        assert mean_rmse(cycled(world, 1.0 / factor, stepped)[0], world.truth) > 1.3 * best
