"""4D-Var in latent space: the Kalman smoother's answer where all is linear, right derivatives where nothing is."""

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from networks import BackwardOnly, Bent, Linear, made, possible, tsvd_basis
from ranks import assert_same_on_ranks
from small_problem import relative_difference
from wind_problem import make_wind
from window_problem import N_CODES, N_STEPS, Turning, linear, make_window, readings_of, true_control

from da.decoded import MINIMISERS, analyse_decoded
from da.diagnostics.checks import adjoint_gap, whole_dot
from da.minimisation.gauss_newton import gauss_newton
from da.minimisation.minimise import minimise
from da.window.cost import WindowReadings, window_cost
from da.window.latent4dvar import latent4dvar
from da.window.path import latent_window

COMM = MPI.COMM_SELF
CONSTRAINTS = pytest.mark.parametrize("weak", [False, True], ids=["strong", "weak"])


def smoothed(of, readings, indices, matrix, noise):
    """(K + 1, m) path of the Kalman filter and of Rauch, Tung & Striebel's sweep back, dense, about the base path."""
    vectors = of.window.transform.modes.vectors
    decode = of.decoder.scale[:, None] * tsvd_basis()
    mean, covariance, by_step = np.zeros(N_CODES), vectors @ vectors.T, {of.step: of.innovation for of in readings}
    kept = []
    for k in range(N_STEPS + 1):
        if k:
            mean, covariance = matrix @ mean, matrix @ covariance @ matrix.T + noise
        forecast = mean, covariance
        if k in by_step:
            index, std = indices[k]
            h = decode[index]
            gain = np.linalg.solve(h @ covariance @ h.T + np.diag(std**2), h @ covariance).T
            mean = mean + gain @ (by_step[k] - h @ mean)
            covariance = (np.eye(N_CODES) - gain @ h) @ covariance
        kept.append((*forecast, mean, covariance))
    path = [kept[-1][2]]
    for (_, _, mean, covariance), (after, of_after, _, _) in zip(kept[-2::-1], kept[:0:-1], strict=True):
        back = np.linalg.solve(of_after, matrix @ covariance).T
        path.append(mean + back @ (path[-1] - after))
    return of.window.base + np.array(path[::-1])


@pytest.mark.parametrize("noise_rank", [None, N_CODES, 2])
@pytest.mark.parametrize("method", MINIMISERS)
def test_in_tsvds_space_it_is_the_kalman_smoother(method, noise_rank):
    dynamics = linear(noise_rank or N_CODES)
    weak = False if noise_rank is None else dynamics.noise
    of = make_window(COMM, Linear(tsvd_basis()), dynamics, weak)
    readings, indices = readings_of(of, COMM)
    noise = np.zeros((N_CODES, N_CODES)) if noise_rank is None else dynamics.noise
    expected = smoothed(of, readings, indices, dynamics.matrix, noise)
    found = latent4dvar(of.window, readings, COMM, method=method)
    assert relative_difference(found.codes - of.window.base, expected - of.window.base) < 1e-8
    assert found.step == N_STEPS
    field = of.decoder.scale * (tsvd_basis() @ (expected[-1] - of.window.base[-1]))
    assert relative_difference(found.analysis.increment, field) < 1e-8
    assert of.window.n_control == N_CODES + N_STEPS * (noise_rank or 0)


def test_a_window_of_no_steps_is_the_decoded_analysis():
    problem = made(Bent(tsvd_basis()), True)
    transform, operator, error, innovation = possible(problem)
    expected = analyse_decoded(transform, operator, error, innovation, COMM)
    for noise in (None, np.eye(6)):
        window = latent_window(transform, Turning(), 0, noise)
        found = latent4dvar(window, [WindowReadings(0, operator, error, innovation)], COMM).analysis
        assert relative_difference(found.increment, expected.increment) < 1e-8
        assert found.chi_squared == pytest.approx(expected.chi_squared, rel=1e-8)
        assert found.residual.rms == pytest.approx(expected.residual.rms, rel=1e-8)
        assert found.innovation == expected.innovation


def bent(weak, network=Bent):
    """A window where model, decoder and the operator of one step are not linear, its readings and two controls."""
    of, wind = make_window(COMM, network(tsvd_basis()), Turning(), weak), make_wind(COMM)
    readings, _ = readings_of(of, COMM, read={2: (wind.operator, wind.error, wind.std)})
    controls = np.random.default_rng(9).normal(size=(2, of.window.n_control))
    return of, readings, controls


@CONSTRAINTS
@pytest.mark.parametrize("network", [Bent, BackwardOnly])
def test_taylor(network, weak):
    of, readings, (w, p) = bent(weak, network)
    cost = window_cost(of.window, readings, COMM)
    value, gradient = cost.value_and_gradient(w)
    assert value == pytest.approx(cost.value(w), rel=1e-12)
    remainder = [abs(cost.value(w + h * p) - value - h * gradient @ p) for h in (1e-4, 1e-5)]
    assert 90.0 < remainder[0] / remainder[1] < 110.0


@CONSTRAINTS
def test_tangent_of_the_path_is_its_derivative_and_adjoint_its_transpose(weak):
    of, _, (w, p) = bent(weak)
    window = of.window
    path = window.codes(w)
    slope = window.tangent(p, path)
    remainder = [np.linalg.norm(window.codes(w + h * p) - path - h * slope) for h in (1e-3, 1e-4)]
    assert 90.0 < remainder[0] / remainder[1] < 110.0
    y = np.random.default_rng(5).normal(size=path.shape)
    gap = adjoint_gap(
        lambda v: window.tangent(v, path).ravel(), lambda q: window.adjoint(q.reshape(path.shape), path),
        p, y.ravel(), whole_dot, whole_dot,
    )  # fmt: skip
    assert gap < 1e-12


@CONSTRAINTS
def test_gauss_newtons_hessian(weak):
    of, readings, (w, p) = bent(weak)
    product = window_cost(of.window, readings, COMM).gauss_newton_hessian(w)
    columns = np.stack([product(column) for column in np.eye(len(w))], axis=1)
    np.testing.assert_allclose(columns, columns.T, rtol=1e-9, atol=1e-9 * np.abs(columns).max())
    # of whitened readings by differences
    step = 1e-5

    def whitened(control):
        misfits = window_cost(of.window, readings, COMM).misfits(of.window.codes(control))
        by_step = {reading.step: reading for reading in readings}
        return np.concatenate([by_step[k].error.whiten(v) for k, v in zip(sorted(by_step), misfits, strict=True)])

    moved = (whitened(w + step * p) - whitened(w - step * p)) / (2.0 * step)
    assert p @ product(p) == pytest.approx(p @ p + moved @ moved, rel=1e-6)


@CONSTRAINTS
def test_both_minimisers_find_the_same_and_lower_j(weak):
    of, readings, _ = bent(weak)
    cost = window_cost(of.window, readings, COMM)
    start = true_control(of.window)
    expected, found = minimise(cost, COMM, start=start), gauss_newton(cost, COMM, start=start)
    assert relative_difference(found.control, expected.control) < 1e-6
    assert found.trace[-1].cost < min(found.trace[0].cost, 0.5 * cost.value(np.zeros_like(start)))


@CONSTRAINTS
def test_what_it_tells(weak):
    of, readings, _ = bent(weak)
    found = latent4dvar(of.window, readings, COMM, step=2)
    told, window = found.analysis, of.window
    np.testing.assert_allclose(found.codes, window.codes(told.control), rtol=1e-12)
    np.testing.assert_allclose(told.increment, window.increment(found.codes, 2), rtol=1e-12)
    residual = [
        reading.innovation - reading.operator.observe(window.increment(found.codes, reading.step))
        for reading in readings
    ]
    whole = np.concatenate(residual)
    assert told.residual.count == len(whole) and told.residual.rms == pytest.approx(np.sqrt(np.mean(whole**2)))
    squares = sum(float(v @ reading.error.solve(v)) for v, reading in zip(residual, readings, strict=True))
    assert told.chi_squared == pytest.approx(squares / len(whole))
    assert told.trace[-1].observation == pytest.approx(0.5 * squares)
    assert told.trace[-1].background == pytest.approx(0.5 * told.control @ told.control)


@CONSTRAINTS
def test_begins_at_another_analysis_where_that_is_lower(weak):
    of = make_window(COMM, Linear(tsvd_basis()), linear(), weak)
    readings, _ = readings_of(of, COMM)
    at_start = next(reading for reading in readings if reading.step == 0)
    first = analyse_decoded(of.window.transform, at_start.operator, at_start.error, at_start.innovation, COMM)
    cold = latent4dvar(of.window, readings, COMM)
    warm = latent4dvar(of.window, readings, COMM, first_increment=first.increment)
    cost, control = window_cost(of.window, readings, COMM), of.window.control_of(first.increment)
    assert not control[N_CODES:].any() and cost.value(control) < cost.value(np.zeros_like(control))
    assert warm.analysis.trace[0].cost == pytest.approx(cost.value(control), rel=1e-12)
    assert relative_difference(warm.codes, cold.codes) < 1e-8
    # one that goes the other way is no place to begin
    away = latent4dvar(of.window, readings, COMM, first_increment=-20.0 * first.increment)
    assert away.analysis.trace[0].cost == cold.analysis.trace[0].cost


def test_noise_lets_the_path_leave_the_model():
    # readings of a path with noise: the strong constraint cannot follow them
    of = make_window(COMM, Linear(tsvd_basis()), linear(), True)
    readings, _ = readings_of(of, COMM, std=0.1)
    strong = latent_window(of.window.transform, of.window.dynamics, N_STEPS)
    chi = [latent4dvar(window, readings, COMM).analysis.chi_squared for window in (strong, of.window)]
    assert chi[1] < 1.0 < chi[0]


def test_float32_network():
    double, single = (make_window(COMM, Bent(tsvd_basis().astype(t)), Turning(), True) for t in (float, np.float32))
    readings, _ = readings_of(double, COMM)
    start = true_control(double.window)
    expected = latent4dvar(double.window, readings, COMM, start=start)
    for method in ("lmvm", "gauss_newton"):
        found = latent4dvar(single.window, readings, COMM, method=method, start=start)
        assert relative_difference(found.codes - single.window.base, expected.codes - double.window.base) < 2e-2


def test_what_is_wrong_is_told():
    of = make_window(COMM, Linear(tsvd_basis()), linear(), False)
    window, transform, readings = of.window, of.window.transform, readings_of(of, COMM)[0]
    with pytest.raises(ValueError, match="no readings"):
        latent4dvar(window, [], COMM)
    with pytest.raises(ValueError, match=r"\[0, 2, 4, 4, 5\], expected each step once"):
        latent4dvar(window, [*readings, readings[0]], COMM)
    for step in (-1, 6):
        with pytest.raises(ValueError, match=f"step {step} in a window of steps 0 to 5"):
            latent4dvar(window, [replace(readings[0], step=step)], COMM)
        with pytest.raises(ValueError, match=f"increment of step {step} in a window of steps 0 to 5"):
            latent4dvar(window, readings, COMM, step=step)
    with pytest.raises(ValueError, match=r"step 4 has shape \(3,\), expected \(8,\)"):
        latent4dvar(window, [replace(readings[0], innovation=np.zeros(3))], COMM)
    with pytest.raises(ValueError, match="observation 2 of step 4 is nan"):
        latent4dvar(window, [replace(readings[0], innovation=np.array([0, 0, np.nan, 0, 0, 0, 0, 0]))], COMM)
    with pytest.raises(ValueError, match="'newton', expected one of lmvm"):
        latent4dvar(window, readings, COMM, method="newton")
    with pytest.raises(ValueError, match="window of -1 steps"):
        latent_window(transform, window.dynamics, -1)
    with pytest.raises(ValueError, match=r"noise of shape \(5, 2\), expected \(6, any\)"):
        latent_window(transform, window.dynamics, 2, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="needs a centred one"):
        latent_window(made(Linear(tsvd_basis()), False).transform, window.dynamics, 2)
    wild = replace(window.dynamics, matrix=1e200 * np.eye(N_CODES))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not finite after 2 steps"):
        latent_window(transform, wild, 5)


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    assert len(assert_same_on_ranks(mpirun, tmp_path, "tests/da/window/parallel_latent4dvar.py")) == 15
