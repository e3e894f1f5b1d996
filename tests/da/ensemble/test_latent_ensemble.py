"""The ETKF among codes: the ETKF itself through a linear network, one blob between two through one that knows blobs."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from ensemble_problem import N, make_ensemble
from mpi4py import MPI
from ranks import assert_same_on_ranks

from da.diagnostics.trust import TrustLimits, latent_cloud
from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.ensemble.etkf import etkf
from da.ensemble.latent import latent
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF


@dataclass(frozen=True)
class Functions:
    """A Decoder of two functions, on one rank."""

    f: object
    g: object
    n_latent: int
    n: int
    comm = COMM
    dtype = np.dtype(np.float64)

    @property
    def scale(self):
        return np.ones(self.n)

    def apply(self, latent, keep=False):
        return self.g(latent)

    def encode(self, states):
        return self.f(states)


def wide(codes, **limits):
    return TrustLimits(latent_cloud(codes), **{"round_trip": 1e9, "distance": 1e9, **limits})


def linear_case(range_has_the_members=True, **limits):
    problem = make_ensemble()
    mean = problem.state.mean(axis=1) + 0.1
    basis, _ = np.linalg.qr(problem.state - mean[:, None])
    if not range_has_the_members:
        basis = basis[:, :4]
    decoder = Functions(lambda x: basis.T @ x, lambda z: basis @ z, basis.shape[1], N)
    codes = decoder.encode(problem.state - mean[:, None])
    update = latent(problem.readings, decoder, mean, wide(codes, **limits), lambda dx: problem.operator @ dx)
    return problem, basis, update


def test_a_linear_network_gives_the_etkf():
    problem, _, update = linear_case()
    found = update.state(problem.state)
    np.testing.assert_allclose(found, etkf(problem.readings, COMM).state(problem.state), rtol=0, atol=1e-10)
    assert update.summary()["decoded"] == 8 and update.summary()["method"] == "latent"
    assert "reason" not in update.summary()
    parameters = problem.ensemble.parameters
    np.testing.assert_array_equal(
        update.parameters(parameters), etkf(problem.readings, COMM).parameters(parameters)
    )  # fmt: skip


def test_what_a_network_cannot_reproduce_stays():
    problem, basis, update = linear_case(range_has_the_members=False)
    change = update.state(problem.state) - problem.state
    assert np.abs(change).max() > 0.0
    np.testing.assert_allclose(change, basis @ (basis.T @ change), rtol=0, atol=1e-12)


@pytest.mark.parametrize("limits, name", [({"round_trip": -1.0}, "round trip"), ({"distance": 0.0}, "latent distance")])
def test_a_member_that_is_not_trusted_gets_the_etkfs_analysis(limits, name):
    problem, _, update = linear_case(range_has_the_members=False, **limits)
    found = update.state(problem.state)
    np.testing.assert_array_equal(found, etkf(problem.readings, COMM).state(problem.state))
    assert update.summary()["decoded"] == 0 and update.summary()["reason"].startswith(f"member 1: {name}")


def test_some_members_may_be_trusted():
    problem, basis, _ = linear_case(range_has_the_members=False)
    mean = problem.state.mean(axis=1) + 0.1
    states = problem.state - mean[:, None]
    trips = np.sqrt(np.mean((states - basis @ (basis.T @ states)) ** 2, axis=0))
    limit = np.sort(trips)[4] * (1.0 + 1e-9)
    _, _, update = linear_case(range_has_the_members=False, round_trip=limit)
    found, own = update.state(problem.state), etkf(problem.readings, COMM).state(problem.state)
    same = np.all(found == own, axis=0)
    np.testing.assert_array_equal(same, trips > limit)
    assert update.summary()["decoded"] == 5


def test_a_decoded_mean_that_fits_no_better_is_refused():
    problem = make_ensemble()
    decoder = Functions(lambda x: x[:8], lambda z: 100.0 * np.resize(z, N), 8, N)
    codes = problem.state[:8] - problem.state[:8].mean(axis=1, keepdims=True)
    update = latent(
        problem.readings, decoder, mean_of(problem.state), wide(codes), lambda dx: problem.operator @ dx
    )  # fmt: skip
    found = update.state(problem.state)
    np.testing.assert_array_equal(found, etkf(problem.readings, COMM).state(problem.state))
    assert update.summary()["decoded"] == 0
    assert update.summary()["reason"].startswith("observation cost ratio")


def test_without_readings_nothing_changes():
    problem, _, update = linear_case()
    none = make_ensemble(n_readings=0).readings
    update = replace(update, linear=etkf(none, COMM))
    np.testing.assert_array_equal(update.state(problem.state), problem.state)


def test_blobs_at_two_places_become_one_between_them():
    """The place is a smooth function of the code: a mean of codes is a place, a mean of fields is none."""
    x = np.arange(60.0)

    def blob(z):
        return np.exp(-0.5 * ((x - 30.0 - z[0]) / 3.0) ** 2)

    places = np.array([-12.0, -9.0, -6.0, 6.0, 9.0, 12.0])
    members = np.stack([blob([p]) for p in places], axis=1)
    decoder = Functions(lambda s: (x @ s / s.sum(axis=0) - 30.0)[None], blob, 1, 60)
    truth = blob([0.0])
    at = np.arange(4, 60, 8)
    m = len(at)
    readings = EnsembleReadings(
        truth[at] - mean_of(members)[at], anomalies_of(members[at]), diagonal_error(np.full(m, 0.05), slice(0, m)),
        np.zeros((m, 3)), np.full(m, "Tracer"),
    )  # fmt: skip
    update = latent(readings, decoder, np.zeros(60), wide(places[None]), lambda dx: dx[at])
    found, own = update.state(members), etkf(readings, COMM).state(members)
    assert update.summary()["decoded"] == 6
    distance = [np.linalg.norm(mean_of(of) - truth) for of in (found, own, members)]
    assert distance[0] < 0.5 * distance[1] < distance[2]
    assert found.min() > -1e-3 > own.min()


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    found = assert_same_on_ranks(mpirun, tmp_path, "tests/da/ensemble/parallel_latent_ensemble.py")
    assert found["decoded: members"][1] == 8 and found["refused: members"][1] == 0
    assert not np.array_equal(found["decoded"], found["refused"])
