"""The experiment of refined analyses: its linear part is the localised one's, and training begins with it."""

import csv

import numpy as np
import pytest
import torch
from experiment_case import experiment_case, write_states
from mpi4py import MPI

from models.zoo.refinement import Refinement
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.experiment.localised_gain import Localising, SampleCovariance
from plugin.experiment.refinement import Refined, analysed_variable, noisy_readings
from plugin.experiment.refinement_inputs import LocalisedAnalyses, steps_before
from plugin.experiment.states import read_states
from plugin.run.progress import Progress

COMM = MPI.COMM_SELF
OF = "{sensors: [4, 8], noise: [0.0, 0.1], horizontal: [30.0, 60.0], rounds: 1, lags: [1.0], square_root: true}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    write_states(folder / "states")
    return folder


@pytest.fixture(scope="module")
def states(folder, tmp_path_factory):
    return read_states(experiment_case(tmp_path_factory.mktemp("case"), folder / "states"))


@pytest.mark.parametrize("of", [Localising(40.0, 30.0, 2, 0.01), Localising(50.0, None, 0, 0.1)])
def test_the_analyses_are_those_of_the_localised_experiment(states, of):
    numbers, sensors = np.arange(states.n_training), states.sensors(6, 1)
    known, rows = LocalisedAnalyses(states, numbers), np.searchsorted(states.used, sensors)
    readings = np.random.default_rng(0).standard_normal((3, 6))
    got = known.gain(rows, of).analyses(readings)
    innovations = (readings - known.background[rows]).T
    ((_, expected),) = SampleCovariance(states, numbers).analyses(sensors, innovations, [of])
    np.testing.assert_allclose(got, known.background + expected.T, atol=2e-5)


def test_the_errors_are_those_of_the_dense_posterior(states):
    of, rows = Localising(40.0, 30.0, 0, 0.05), np.array([3, 50, 200])
    known = LocalisedAnalyses(states, np.arange(states.n_training))
    gain = known.gain(rows, of)
    covariance = SampleCovariance(states, np.arange(states.n_training))
    taper = covariance.taper(of, rows)
    c = taper * (covariance.anomalies @ covariance.anomalies[rows].T)
    variance = np.sum(covariance.anomalies**2, axis=1)
    left = variance - np.sum(c @ np.linalg.inv(c[rows] + of.variance * np.eye(3)) * c, axis=1)
    np.testing.assert_allclose(gain.std, np.sqrt(left), atol=1e-4)
    np.testing.assert_allclose(gain.nearness, taper.max(axis=1), atol=1e-6)


@pytest.mark.parametrize("square_root", [False, True])
def test_an_untrained_refinement_is_the_linear_analysis(states, square_root):
    variable = analysed_variable(states, square_root)
    known, rows = LocalisedAnalyses(variable.analysed, np.arange(20)), np.array([3, 50, 200])
    steps = steps_before(states, [1.0, 2.0])
    readings = noisy_readings(variable.analysed, np.array([5, 9]), steps, rows, 0.1, np.random.default_rng(1))
    inputs = torch.from_numpy(known.gain(rows, Localising(60.0, None, 1, 0.02)).inputs(readings, 0.1))
    refined = Refined(Refinement(states.grid.shape, 2), variable)
    with torch.no_grad():
        torch.testing.assert_close(refined.analyses(inputs), refined.linear(inputs), rtol=0.0, atol=0.0)


def test_square_roots_restored_are_the_variable(states):
    variable = analysed_variable(states, True)
    rows = torch.from_numpy(variable.analysed.rows[:, states.used])
    physical = states.restored(states.rows)[:, states.used]
    expected = np.where(
        physical > 0.0, states.rows[:, states.used], -states.mean[states.used] / states.scale[states.used]
    )
    np.testing.assert_allclose(variable.restored(rows).numpy(), expected, atol=2e-4)


def test_noise_of_a_state_is_one_draw_and_its_readings_before_are_those(states):
    rows, numbers = np.array([3, 50]), np.array([6, 7])
    readings = noisy_readings(states, numbers, np.array([0, 1]), rows, 0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(readings[1, 1], readings[0, 0])
    plain = noisy_readings(states, numbers, np.array([0, 1]), rows, 0.0, np.random.default_rng(1))
    np.testing.assert_array_equal(plain[0, 1], states.rows[5, states.used[rows]])


def test_the_table_has_linear_and_refined_analyses_and_the_network_is_kept(folder, tmp_path):
    case = experiment_case(tmp_path, folder / "states", refined=OF, networks="{folder: nets}", protocol="{seeds: 2}")
    tables = []
    for out in ("one", "two"):
        run("refined", case, Progress(COMM), tmp_path / out)
        with open(tmp_path / out / "refined.csv", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1] and len(list((tmp_path / "nets").iterdir())) == 1
    assert [row["system"] for row in tables[0][:3]] == ["localised", "localised, square roots", "refined"]
    assert len(tables[0]) == 12 and all(0.0 < float(row["error"]) < 2.0 for row in tables[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{lags: [0.7], rounds: 1, sensors: [4]}", "multiples of the states' spacing"),
        ("{sensors: [4, 1000000]}", "1000000 sensors, only"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, settings, message):
    case = experiment_case(tmp_path, folder / "states", refined=settings, networks="{folder: nets}")
    with pytest.raises(ConfigurationError, match=message):
        run("refined", case, Progress(COMM), tmp_path / "out")


def test_a_file_of_another_training_is_refused(folder, tmp_path):
    for sensors, settings in ((4, OF), (5, OF.replace("lags: [1.0]", "lags: [2.0]"))):
        case = experiment_case(tmp_path, folder / "states", refined=settings, networks="{folder: nets}")
        if sensors == 4:
            run("refined", case, Progress(COMM), tmp_path / "out")
        else:
            with pytest.raises(ConfigurationError, match="other states or settings"):
                run("refined", case, Progress(COMM), tmp_path / "out")
