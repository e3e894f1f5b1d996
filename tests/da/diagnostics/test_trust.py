import json

import numpy as np
import pytest
from mpi4py import MPI
from networks import Bent, Linear, make_latent_problem, tsvd_basis, vector
from small_problem import N

from da.analysis import analyse
from da.diagnostics.trust import (
    COST,
    DISTANCE,
    ROUND_TRIP,
    check_background,
    check_cost,
    latent_cloud,
    observation_cost,
    round_trip,
    round_trip_error,
    trust_limits,
)

COMM = MPI.COMM_SELF


def made(network):
    of = make_latent_problem(COMM, network)
    of.codes = of.decoder.encode(of.anomalies)
    of.errors = [round_trip(of.decoder, x) for x in of.anomalies.T]
    of.limits = trust_limits(of.codes, of.errors)
    return of


def checked(of, state):
    trust = check_background(of.limits, round_trip(of.decoder, state), of.decoder.encode(state))
    return trust, {check.name: check.passed for check in trust.checks}


@pytest.mark.parametrize("network", [Linear, Bent])
def test_a_state_like_those_of_training_is_trusted(network):
    of = made(network(tsvd_basis()))
    trust, passed = checked(of, 0.5 * (of.anomalies[:, 4] + of.anomalies[:, 5]))
    assert trust.trusted and passed == {ROUND_TRIP: True, DISTANCE: True} and trust.reason == ""


@pytest.mark.parametrize("network", [Linear, Bent])
def test_a_state_the_network_cannot_reproduce_trips_the_round_trip(network):
    of = made(network(tsvd_basis()))
    basis = tsvd_basis()
    # nothing of it is seen by the encoder, so its code is an ordinary one
    strange = vector(seed=2) - basis @ (basis.T @ vector(seed=2))
    trust, passed = checked(of, of.anomalies[:, 4] + of.scale * strange)
    assert passed == {ROUND_TRIP: False, DISTANCE: True} and not trust.trusted
    assert trust.reason.startswith("round trip error 1.") and "limit 0.4" in trust.reason


def test_a_code_far_from_those_of_training_trips_the_distance():
    # the linear network reproduces whatever lies in its range, however far
    of = made(Linear(tsvd_basis()))
    far = of.scale * (tsvd_basis() @ (8.0 * of.codes.std(axis=1) * np.array([1, -1, 1, -1, 1, -1])))
    trust, passed = checked(of, far)
    assert passed == {ROUND_TRIP: True, DISTANCE: False}
    assert DISTANCE in trust.reason and ROUND_TRIP not in trust.reason


def test_an_analysis_further_from_the_readings_trips_the_cost():
    of = made(Linear(tsvd_basis()))
    transform, h, r, d = of.problem.arguments
    before = observation_cost(h, r, d, COMM)
    better = analyse(transform, h, r, d, COMM)
    good = check_cost(of.limits, before, observation_cost(h, r, d - h.observe(better.increment), COMM))
    bad = check_cost(of.limits, before, observation_cost(h, r, d + h.observe(better.increment), COMM))
    assert good.trusted and good.checks[0].value == pytest.approx(better.trace[-1].observation / before)
    assert not bad.trusted and bad.checks[0].value > 1.0 and bad.checks[0].name == COST
    assert before == pytest.approx(0.5 * np.sum((d / of.problem.std) ** 2))
    with pytest.raises(ValueError, match=r"shape \(39,\), expected \(40,\)"):
        observation_cost(h, r, d[1:], COMM)


def test_cost_of_readings_that_are_none_or_met_already():
    limits = made(Linear(tsvd_basis())).limits
    assert check_cost(limits, 0.0, 0.0).trusted
    assert not check_cost(limits, 0.0, 1e-3).trusted
    assert check_cost(limits, 2.0, 2.0).trusted
    assert not check_cost(limits, 2.0, 2.0001).trusted


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_trusted(value):
    of = made(Linear(tsvd_basis()))
    trust = check_background(of.limits, value, of.codes[:, 0]) + check_cost(of.limits, 1.0, value)
    assert [check.passed for check in trust.checks] == [False, True, False]
    told = json.loads(json.dumps(trust.summary(), allow_nan=False))
    assert told[ROUND_TRIP] == {"value": None, "limit": of.limits.round_trip, "passed": False}
    assert not check_background(of.limits, 0.0, np.full(6, np.nan)).trusted


def test_round_trip_error_counts_values_with_a_scale_in_its_units():
    scale = np.array([2.0, 0.0, 4.0])
    error = round_trip_error(np.array([1.0, 5.0, 2.0]), np.array([3.0, 9.0, 6.0]), scale, COMM)
    assert error == pytest.approx(1.0)
    assert np.isnan(round_trip_error(np.ones(2), np.ones(2), np.zeros(2), COMM))
    of = made(Bent(tsvd_basis()))
    state = of.anomalies[:, 2]
    back = of.decoder.apply(of.decoder.encode(state))
    assert of.errors[2] == pytest.approx(np.sqrt(np.mean(((state - back) / of.scale) ** 2)))


def test_limits_are_quantiles():
    codes, errors = vector(6 * 40).reshape(6, 40), np.arange(101.0)
    limits = trust_limits(codes, errors, quantile=0.9)
    assert limits.round_trip == pytest.approx(90.0) and limits.cost_ratio == 1.0
    wider = trust_limits(codes, errors, quantile=0.9, margin=2.0, cost_ratio=0.5)
    assert wider.round_trip == pytest.approx(180.0) and wider.distance == pytest.approx(2.0 * limits.distance)
    assert not check_cost(wider, 1.0, 0.6).trusted
    distances = limits.cloud.distance(codes)
    # measured from the others, codes are further than from a cloud of themselves
    assert limits.distance > np.quantile(distances, 0.9)


def test_part_of_new_states_that_passes():
    # more numbers in a code than snapshots, correlated: where a plain covariance has no inverse
    rng = np.random.default_rng(5)
    root = rng.normal(size=(60, 60)) * np.linspace(3.0, 0.1, 60)
    limits = trust_limits(root @ rng.normal(size=(60, 50)), np.ones(5), quantile=0.9)
    new = limits.cloud.distance(root @ rng.normal(size=(60, 2000)))
    assert 0.8 < np.mean(new <= limits.distance) < 0.97
    assert np.mean(limits.cloud.distance(2.0 * root @ rng.normal(size=(60, 2000))) <= limits.distance) < 0.02


def test_cloud_of_many_codes_is_their_covariance():
    rng = np.random.default_rng(6)
    root = rng.normal(size=(4, 4))
    codes = root @ rng.normal(size=(4, 20000)) + 3.0
    cloud = latent_cloud(codes)
    np.testing.assert_allclose(cloud.factor @ cloud.factor.T, np.cov(codes), rtol=1e-2, atol=1e-2)
    apart = codes[:, 0] - codes.mean(axis=1)
    expected = np.sqrt(apart @ np.linalg.solve(np.cov(codes), apart) / 4)
    assert cloud.distance(codes[:, 0]) == pytest.approx(expected, rel=1e-2)
    np.testing.assert_allclose(cloud.distance(codes[:, :3])[0], cloud.distance(codes[:, 0]), rtol=1e-13)


def test_what_is_wrong_is_told():
    codes = vector(6 * 20).reshape(6, 20)
    for wrong, told in (
        ({"quantile": 0.0}, "quantile 0.0"),
        ({"margin": -1.0}, "margin -1.0"),
        ({"cost_ratio": np.nan}, "cost ratio nan"),
    ):
        with pytest.raises(ValueError, match=told):
            trust_limits(codes, [1.0], **wrong)
    for errors in ([], [1.0, np.nan]):
        with pytest.raises(ValueError, match="missing or not finite"):
            trust_limits(codes, errors)
    for wrong in (np.ones((6, 20)), np.where(np.arange(20) == 3, np.nan, codes)):
        with pytest.raises(ValueError, match="no spread, or are not finite"):
            latent_cloud(wrong)
    with pytest.raises(ValueError, match=r"shape \(6, 1\)"):
        latent_cloud(codes[:, :1])
    assert trust_limits(codes[:, :3], np.ones(N)).distance > 0.0
