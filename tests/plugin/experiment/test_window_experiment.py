"""The experiment of windows: a Kalman smoother that is latent4dvar's path, each system in its table."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from experiment_case import experiment_case, write_states
from mpi4py import MPI

from da.background.latent import decoded_transform, latent_modes
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection
from da.window.cost import WindowReadings
from da.window.dynamics import noise_root
from da.window.latent4dvar import latent4dvar
from da.window.path import latent_window
from models.dynamics.linear import linear_dynamics
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.experiment.lagged_gain import LaggedCovariance, Lagging, path_covariances
from plugin.experiment.localised_gain import Localising, SampleCovariance
from plugin.experiment.states import read_states
from plugin.run.progress import Progress

COMM = MPI.COMM_SELF
SETTINGS = (
    "{sensors: [4], noise: [0.1], horizontal: [60.0], vertical: [null], modes: [0], variances: [0.01, 0.1], gap: 2"
)


class Matrix:
    """A decoder that is a matrix with orthonormal columns."""

    comm, dtype = COMM, np.dtype(float)

    def __init__(self, basis):
        self.basis, self.scale, self.n_latent = basis, np.ones(len(basis)), basis.shape[1]

    def apply(self, latent, keep=False):
        return self.basis @ latent

    def tangent(self, direction, at):
        return self.basis @ direction

    def adjoint(self, increment, at):
        return self.basis.T @ increment

    def encode(self, states):
        return self.basis.T @ states

    def release(self):
        pass


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("window")
    write_states(folder / "states")
    return folder


def test_with_nothing_outside_the_modes_it_is_latent4dvar_with_noise(states, tmp_path):
    known = read_states(experiment_case(tmp_path, states / "states"))
    numbers, lags, variance, ridge, modes = np.arange(known.n_training), (-2.0, -1.0, 1.0), 0.05, 0.1, 5
    covariance = SampleCovariance(known, numbers)
    # only what the modes can say is left of the states
    leading = covariance.leading[:, :modes]
    covariance.anomalies = (covariance.anomalies @ leading) @ leading.T
    sensors = known.sensors(6, 1)
    rows = np.searchsorted(known.used, sensors)
    readings = np.random.default_rng(0).standard_normal((4, 6, 1))
    setting = Lagging(Localising(40.0, None, modes, variance), lags, 3.0, ridge)
    ((_, found),) = LaggedCovariance(covariance, known.times).analyses(sensors, readings, [setting])

    left, sigma, right = np.linalg.svd(covariance.anomalies, full_matrices=False)
    codes = (sigma[:, None] * right)[:modes] * np.sqrt(len(numbers) - 1)
    # the experiment's codes are these, each over its standard deviation
    scaled = codes / sigma[:modes, None]
    model = linear_dynamics(scaled[:, :-1], scaled[:, 1:], ridge)
    spread = np.diag(sigma[:modes])
    back = np.diag(1.0 / sigma[:modes])
    model = replace(
        model, matrix=spread @ model.matrix @ back, centre=np.zeros(modes), noise=spread @ model.noise @ spread
    )
    decoder = Matrix(left[:, :modes])
    # the covariance of the codes is over S, not S − 1
    start = latent_modes(codes, COMM, centred=True, inflation=np.sqrt((len(numbers) - 1) / len(numbers)))
    window = latent_window(
        decoded_transform(decoder, start, np.zeros(len(left))), model, 3, noise_root(model.noise, COMM)
    )
    operator = selection(rows, len(left), COMM)
    error = diagonal_error(np.full(6, np.sqrt(variance)), operator.rows)
    # from the earliest time on: 1 s before, now, 1 s and 2 s after
    steps = [WindowReadings(k, operator, error, readings[of, :, 0]) for k, of in enumerate((3, 0, 2, 1))]
    expected = latent4dvar(window, steps, COMM, step=1, gradient_tolerance=1e-12).analysis.increment
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6 * np.abs(expected).max())


def test_path_covariances_are_a_covariance_and_its_diagonal_follows_the_model():
    rng = np.random.default_rng(1)
    codes = rng.standard_normal((3, 60))
    codes -= codes.mean(axis=1, keepdims=True)
    times = np.arange(60) * 2.0
    whole = path_covariances(codes, times, np.array([-4.0, 2.0]), 0.1)
    model = linear_dynamics(codes[:, :-1], codes[:, 1:], 0.1)
    first = codes @ codes.T / 60
    np.testing.assert_allclose(whole[2, 2], first)
    now = model.matrix @ first @ model.matrix.T + model.noise
    np.testing.assert_allclose(whole[0, 0], now)
    np.testing.assert_allclose(whole[0, 2], model.matrix @ first)
    np.testing.assert_allclose(whole[1, 0], model.matrix @ model.matrix @ now)
    flat = whole.transpose(0, 2, 1, 3).reshape(9, 9)
    np.testing.assert_allclose(flat, flat.T, atol=1e-12)
    assert np.linalg.eigvalsh(flat)[0] > 0.0
    with pytest.raises(ValueError, match="lags 3 s, expected multiples of the 2 s"):
        path_covariances(codes, times, np.array([3.0]), 0.1)


@pytest.mark.parametrize("earlier", ["", ", lags: [[1.0], [1.0, 2.0]]"])
def test_the_table_has_each_system_at_the_same_states(states, tmp_path, earlier):
    case = experiment_case(
        tmp_path, states / "states", localised=f"{SETTINGS}{earlier}, time_scales: [2.0, 9.0]}}",
        window="{lags: [[-1, 1], [-2, -1, 1, 2]], modes: [2, 4], ridges: [0.1]}", protocol="{seeds: 2}",
    )  # fmt: skip
    run("window", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/window.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["localised", "with earlier readings", "fixed-lag smoother", "Kalman smoother of the leading modes"]
    assert [row["system"] for row in rows] == (names if earlier else [names[0], *names[2:]])
    assert rows[-2]["lags"] in ("-1 1", "-2 -1 1 2") and rows[-2]["ridge"] == ""
    assert rows[-1]["ridge"] == "0.1" and rows[-1]["modes"] in ("2", "4")
    assert all(0.0 < float(row["error"]) < 2.0 for row in rows)
    # six test states, of which the last two have no reading 2 s after them
    assert "4 test states" in (tmp_path / "out/window.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("lags", "text"),
    [
        ("[[-1.5, 1]]", "expected multiples of a step's 1 s"),
        ("[[-8, 1]]", "no test state has another 8 s after it"),
        ("[[0, 1]]", "none of zero or twice"),
        ("[[1, 1]]", "none of zero or twice"),
    ],
)
def test_lags_that_do_not_fit_are_refused(states, tmp_path, lags, text):
    with pytest.raises(ConfigurationError, match=text):
        case = experiment_case(tmp_path, states / "states", localised=f"{SETTINGS}}}", window=f"{{lags: {lags}}}")
        run("window", case, Progress(COMM), tmp_path / "out")
