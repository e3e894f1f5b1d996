"""Lorenz-96 with the filters of Hunt, Kostelich & Szunyogh 2007 (Physica D 230, 112), beside published figures.

The settings of Sakov & Oke 2008 (Tellus 60A, 361): 40 variables, all read at each step with R = I. The benchmark
package DAPPER (Raanes, Chen & Grudzien 2024, J. Open Source Softw. 9, 5150; dapper/mods/Lorenz96/sakov2008.py) says
which mean rmse of the analyses that gives:

    ETKF, 24 members, factor 1.013                                          0.18  (Sakov & Oke, Table 1)
    LETKF, 7 members, factor 1.04, taper of Gaspari & Cohn, radius 4        0.22

A radius there is a length of 1.82 times as much, and members are rotated at random after each analysis, with their
mean and covariance kept. A ring is a line on which each reading stands three times, N apart: the taper ends before it
reaches a second of them.
"""

import numpy as np
import pytest
from lorenz_96 import FORCING, N, mean_rmse, run, stepped
from mpi4py import MPI

from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.ensemble.etkf import etkf
from da.ensemble.inflation import adaptive_factors, inflated, inflated_readings, relaxed_to_prior_spread
from da.ensemble.letkf import letkf
from da.ensemble.reach import Reach
from da.ensemble.verification import spread_and_error
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF
ANALYSES, BURN_IN = 1800, 400
GLOBAL, LOCAL = 0.18, 0.22
RING = np.arange(N) + np.array([[-N], [0], [N]])
LENGTH = 1.82 * 4.0
ZERO = np.zeros(N)
PLACES = np.stack([np.arange(N), ZERO, ZERO], axis=1)
REACH = Reach(PLACES, np.zeros(N, np.int64), np.array([LENGTH]), np.array([np.inf]))


@pytest.fixture(scope="module")
def world():
    """Truth and readings, (ANALYSES, N) each."""
    rng = np.random.default_rng(2007)
    truth = run(FORCING + rng.normal(size=N), 500 + ANALYSES)[500:]
    return truth, truth + rng.normal(size=truth.shape)


def readings_of(members, y, copies=1):
    """Of all variables, each as often as there are copies of the ring."""
    innovation, anomalies = np.tile(y - mean_of(members), copies), np.tile(anomalies_of(members), (copies, 1))
    at = RING[1:2] if copies == 1 else RING
    place = np.stack([at.ravel(), np.tile(ZERO, copies), np.tile(ZERO, copies)], axis=1)
    m = N * copies
    return EnsembleReadings(innovation, anomalies, diagonal_error(np.ones(m), slice(0, m)), place, np.full(m, "x"))


def rotated(members, rng):
    """Members with the same mean and covariance: a random orthogonal matrix that keeps the vector of ones."""
    n = members.shape[1]
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))
    turn, triangle = np.linalg.qr(rng.normal(size=(n - 1, n - 1)))
    inner = np.eye(n)
    inner[1:, 1:] = turn * np.sign(np.diag(triangle))
    return mean_of(members)[:, None] + anomalies_of(members) @ basis @ inner @ basis.T


def whole(members, y):
    return etkf(readings_of(members, y), COMM).state(members)


def local(members, y):
    return letkf(readings_of(members, y, copies=3), REACH, COMM).state(members)


def cycled(world, n_members, analysed):
    """Members after each analysis, (ANALYSES, N, n_members)."""
    truth, readings = world
    rng = np.random.default_rng(7)
    members, found = truth[0][:, None] + rng.normal(size=(N, n_members)), []
    for y in readings:
        members = rotated(analysed(members, y), rng)
        found.append(members)
        members = stepped(members)
    return np.array(found)


def rmse(found, world):
    return mean_rmse(found.mean(axis=2), world[0], BURN_IN)


def test_etkf(world):
    found = cycled(world, 24, lambda members, y: inflated(whole(members, y), 1.013))
    assert rmse(found, world) == pytest.approx(GLOBAL, rel=0.05)
    of = spread_and_error(found[BURN_IN:].reshape(-1, 24), world[0][BURN_IN:].ravel())
    assert of.spread == pytest.approx(of.error, rel=0.15)


def test_letkf(world):
    found = cycled(world, 7, lambda members, y: inflated(local(members, y), 1.04))
    assert rmse(found, world) == pytest.approx(LOCAL, rel=0.05)


def test_without_localisation_seven_members_diverge(world):
    truth, readings = world
    short = truth[:600], readings[:600]
    found = cycled(short, 7, lambda members, y: inflated(whole(members, y), 1.04))
    assert rmse(found, short) > 1.0


def test_relaxation_to_the_prior_spread_does_as_well(world):
    """Whitaker & Hamill 2012: without a factor."""
    found = cycled(world, 7, lambda members, y: relaxed_to_prior_spread(members, local(members, y), 0.3))
    assert rmse(found, world) < 1.1 * LOCAL


def test_a_factor_that_follows_the_innovations_does_as_well(world):
    """Miyoshi 2011: nobody chose it."""
    factors = {}

    def analysed(members, y):
        nonlocal factors
        factors = adaptive_factors(readings_of(members, y), factors)
        prior = inflated(members, factors["x"])
        readings = inflated_readings(readings_of(members, y, copies=3), factors)
        return letkf(readings, REACH, COMM).state(prior)

    assert rmse(cycled(world, 7, analysed), world) < 1.1 * LOCAL
    assert 1.0 < factors["x"] < 1.2
