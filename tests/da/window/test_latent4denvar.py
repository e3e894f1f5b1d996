"""4DEnVar among codes: latent4dvar's answer where all is linear, with noise the dense Kalman gain's."""

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from networks import Bent, Linear, tsvd_basis
from small_problem import relative_difference
from window_problem import N_CODES, N_STEPS, Turning, linear, make_window, readings_of

from da.ensemble.ensemble import anomalies_of
from da.window.dynamics import noise_root
from da.window.latent4denvar import MemberPaths, latent4denvar, member_paths
from da.window.latent4dvar import latent4dvar
from da.window.path import latent_window

COMM, N_MEMBERS = MPI.COMM_SELF, 11
NONE = np.empty((0, N_MEMBERS))


def about(window, seed=3):
    """(m, N) codes whose mean is the background's, with the spread of the window's modes."""
    rng = np.random.default_rng(seed)
    return window.base[0][:, None] + anomalies_of(
        window.transform.modes.vectors @ rng.normal(size=(N_CODES, N_MEMBERS))
    )


def by(dynamics):
    return lambda code, _: dynamics.step(code)


def stacked(of, readings, indices):
    """Dense H of a whole path, the innovations and R's diagonal; linear g."""
    decode = of.decoder.scale[:, None] * tsvd_basis()
    rows = np.zeros((8 * len(readings), (N_STEPS + 1) * N_CODES))
    for number, reading in enumerate(readings):
        step = reading.step
        rows[8 * number : 8 * number + 8, step * N_CODES : (step + 1) * N_CODES] = decode[indices[step][0]]
    return (
        rows,
        np.concatenate([one.innovation for one in readings]),
        np.concatenate([indices[one.step][1] ** 2 for one in readings]),
    )


@pytest.mark.parametrize("step", [0, 2, None])
def test_without_noise_it_is_latent4dvar_with_the_members_as_modes(step):
    dynamics = linear()
    of = make_window(COMM, Linear(tsvd_basis()), dynamics, False)
    readings, _ = readings_of(of, COMM)
    codes = about(of.window)
    vectors = anomalies_of(codes) / np.sqrt(N_MEMBERS - 1)
    transform = replace(of.window.transform, modes=replace(of.window.transform.modes, vectors=vectors))
    expected = latent4dvar(latent_window(transform, dynamics, N_STEPS), readings, COMM, step=step)
    found = latent4denvar(of.window, member_paths(by(dynamics), codes, NONE, N_STEPS), readings, COMM, step=step)
    base = of.window.base
    assert relative_difference(found.members.codes.mean(axis=2) - base, expected.codes - base) < 1e-8
    assert relative_difference(found.increment, expected.analysis.increment) < 1e-8
    assert found.step == expected.step


def test_with_noise_members_are_those_of_the_dense_gain_of_whole_paths():
    dynamics = linear()
    of = make_window(COMM, Linear(tsvd_basis()), dynamics, True)
    readings, indices = readings_of(of, COMM)
    parameters = np.random.default_rng(8).normal(size=(2, N_MEMBERS))
    prior = member_paths(by(dynamics), about(of.window), parameters, N_STEPS, noise_root(dynamics.noise, COMM))
    found = latent4denvar(of.window, prior, readings, COMM).members
    h, d, r = stacked(of, readings, indices)
    whole = np.concatenate([(prior.codes - of.window.base[:, :, None]).reshape(-1, N_MEMBERS), parameters])
    h = np.concatenate([h, np.zeros((len(h), 2))], axis=1)
    sample = np.cov(whole)
    gain = sample @ h.T @ np.linalg.inv(h @ sample @ h.T + np.diag(r))
    mean = whole.mean(axis=1) + gain @ (d - h @ whole.mean(axis=1))
    after = np.concatenate([(found.codes - of.window.base[:, :, None]).reshape(-1, N_MEMBERS), found.parameters])
    assert relative_difference(after.mean(axis=1), mean) < 1e-8
    assert relative_difference(np.cov(after), sample - gain @ h @ sample) < 1e-8


def test_a_parameter_of_the_model_is_found():
    dynamics, push = linear(), np.linspace(-3.0, 3.0, N_CODES)
    of = make_window(COMM, Linear(tsvd_basis()), dynamics, False)

    def forecast(code, parameters):
        return dynamics.step(code) + parameters[0] * push

    rng, truth = np.random.default_rng(5), 1.2
    n = 60
    codes = of.window.base[0][:, None] + 0.1 * of.window.transform.modes.vectors @ rng.normal(size=(N_CODES, n))
    prior = member_paths(forecast, codes, rng.normal(size=(1, n)), N_STEPS)
    path = member_paths(forecast, np.stack([of.window.base[0]] * 2, axis=1), np.full((1, 2), truth), N_STEPS)
    readings, _ = readings_of(of, COMM)
    decoder, window = of.decoder, of.window
    told = [
        replace(
            one,
            innovation=one.operator.observe(
                decoder.apply(path.codes[one.step, :, 0]) - decoder.apply(window.base[one.step])
            ),
        )
        for one in readings
    ]
    found = latent4denvar(window, prior, told, COMM).members
    assert abs(found.parameters.mean() - truth) < 0.05 * abs(prior.parameters.mean() - truth)
    assert found.parameters.std() < 0.2 * prior.parameters.std()


def test_through_a_network_it_lowers_the_cost_of_the_readings():
    dynamics = Turning()
    of = make_window(COMM, Bent(tsvd_basis()), dynamics, False)
    readings, _ = readings_of(of, COMM)
    found = latent4denvar(
        of.window, member_paths(by(dynamics), about(of.window), NONE, N_STEPS), readings, COMM, step=2
    )
    path = found.members.codes.mean(axis=2)
    np.testing.assert_allclose(found.increment, of.window.increment(path, 2), rtol=1e-12)

    def cost(at):
        residual = [one.innovation - one.operator.observe(of.window.increment(at, one.step)) for one in readings]
        return sum(float(v @ one.error.solve(v)) for v, one in zip(residual, readings, strict=True))

    assert cost(path) < 0.5 * cost(of.window.base)


def test_what_is_wrong_is_told():
    dynamics = linear()
    of = make_window(COMM, Linear(tsvd_basis()), dynamics, False)
    readings, _ = readings_of(of, COMM)
    codes = about(of.window)
    members = member_paths(by(dynamics), codes, NONE, N_STEPS)
    with pytest.raises(ValueError, match=r"members' paths of shape \(4, 6, 11\), expected \(6, 6, N\)"):
        latent4denvar(of.window, MemberPaths(members.codes[:4], NONE), readings, COMM)
    with pytest.raises(ValueError, match="increment of step 6 in a window of steps 0 to 5"):
        latent4denvar(of.window, members, readings, COMM, step=6)
    with pytest.raises(ValueError, match="no readings"):
        latent4denvar(of.window, members, [], COMM)
    with pytest.raises(ValueError, match=r"codes of shape \(6, 1\)"):
        member_paths(by(dynamics), codes[:, :1], np.empty((0, 1)), N_STEPS)
    with pytest.raises(ValueError, match=r"parameters of shape \(0, 3\)"):
        member_paths(by(dynamics), codes, np.empty((0, 3)), N_STEPS)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not finite after 2 steps"):
        member_paths(lambda code, _: 1e200 * code, codes, NONE, N_STEPS)
