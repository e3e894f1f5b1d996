"""The experiment of localised linear analyses: its gain is the product's, and its choices are validation's alone."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from experiment_case import N_TRAINING, experiment_case, write_states
from mpi4py import MPI

from da.analysis import analyse
from da.background.lag_pairs import lag_pairs
from da.background.lagged import lagged_transform
from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper, localised_transform
from da.background.modes import truncated_modes
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.experiment.lagged_gain import LaggedCovariance, Lagging, readings_before
from plugin.experiment.localised_gain import Localising, SampleCovariance
from plugin.experiment.states import read_states
from plugin.experiment.trials import best
from plugin.run.progress import Progress

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("localised")
    write_states(folder / "states")
    return folder


@pytest.mark.parametrize("of", [Localising(40.0, 30.0, 2, 0.01), Localising(50.0, None, 0, 0.1)])
def test_the_gain_is_the_product_s_analysis(states, tmp_path, of):
    known = read_states(experiment_case(tmp_path, states / "states"))
    sensors = known.sensors(6, 1)
    readings = np.random.default_rng(0).standard_normal(6)
    covariance = SampleCovariance(known, np.arange(known.n_training))
    ((_, found),) = covariance.analyses(sensors, readings[:, None], [of])
    rows = known.training[known.used].astype(np.float64)
    modes = truncated_modes(rows, COMM, known.n_training - 1)
    lengths = [np.array([np.inf if one is None else one]) for one in (of.horizontal, of.vertical)]
    position = known.grid.coordinates(known.used)
    taper = Taper(position, np.zeros(len(position), int), lengths[0], lengths[1], np.ones((1, 1)), of.modes)
    operator = selection(np.searchsorted(known.used, sensors), len(rows), COMM)
    transform = localised_transform(LinearTransform(modes, None, COMM), taper, operator)
    error = diagonal_error(np.full(6, np.sqrt(of.variance)), operator.rows)
    expected = analyse(transform, operator, error, readings, COMM).increment
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("of", [Localising(40.0, 30.0, 2, 0.01), Localising(None, None, 0, 0.1)])
def test_the_gain_with_earlier_readings_is_the_product_s_analysis(states, tmp_path, of):
    known, lags, scale = read_states(experiment_case(tmp_path, states / "states")), (1.0, 3.0), 2.5
    sensors, numbers = known.sensors(6, 1), np.arange(known.n_training)
    readings = np.random.default_rng(0).standard_normal((3, 6, 1))
    covariance = LaggedCovariance(SampleCovariance(known, numbers), known.times)
    ((_, found),) = covariance.analyses(sensors, readings, [Lagging(of, lags, scale)])
    rows = known.training[known.used].astype(np.float64)
    modes = truncated_modes(rows, COMM, known.n_training - 1)
    lengths = [np.array([np.inf if one is None else one]) for one in (of.horizontal, of.vertical)]
    position = known.grid.coordinates(known.used)
    taper = Taper(position, np.zeros(len(position), int), lengths[0], lengths[1], np.ones((1, 1)), of.modes)
    operator = selection(np.tile(np.searchsorted(known.used, sensors), 3), len(rows), COMM)
    pairs, lag = lag_pairs(known.times[numbers], lags), np.repeat([0, 1, 2], 6)
    made = lagged_transform(LinearTransform(modes, None, COMM), taper, pairs, scale, operator, lag)
    error = diagonal_error(np.full(18, np.sqrt(of.variance)), operator.rows)
    expected = analyse(made.transform, made.operator, error, readings.ravel(), COMM).increment[: len(rows)]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("space", [Localising(40.0, 30.0, 2, 0.01), Localising(None, None, 0, 0.1)])
def test_increments_at_some_values_are_those_of_all_there(states, tmp_path, space):
    known = read_states(experiment_case(tmp_path, states / "states"))
    covariance = SampleCovariance(known, np.arange(known.n_training))
    lagged, of = LaggedCovariance(covariance, known.times), Lagging(space, (1.0,), 2.0)
    sensors, at = known.sensors(5, 0), np.array([3, 50, 51, 400])
    readings = np.random.default_rng(0).standard_normal((2, 5, 3))
    for analyses, given, setting in ((covariance.analyses, readings[0], space), (lagged.analyses, readings, of)):
        ((_, everywhere),) = analyses(sensors, given, [setting])
        ((_, some),) = analyses(sensors, given, [setting], at)
        assert some.shape == (4, 3)
        np.testing.assert_allclose(some, everywhere[at], atol=1e-12 * np.abs(everywhere).max())


def test_readings_of_before_are_those_of_the_states_before(states, tmp_path):
    known = read_states(experiment_case(tmp_path, states / "states"))
    numbers, sensors = np.array([5, 25, 29]), known.sensors(4, 0)
    noise = np.random.default_rng(1).standard_normal((len(known.rows), 4))
    readings = readings_before(known, numbers, sensors, (2.0,), noise)
    assert readings.shape == (2, 4, 3)
    np.testing.assert_allclose(readings[0], (known.rows[numbers][:, sensors] + noise[numbers]).T)
    np.testing.assert_allclose(readings[1], (known.rows[numbers - 2][:, sensors] + noise[numbers - 2]).T)
    with pytest.raises(ValueError, match="a state has none 6 s before it"):
        readings_before(known, numbers, sensors, (6.0,), noise)


def test_earlier_readings_are_a_third_system(states, tmp_path):
    compared = "horizontal: [30.0, 60.0], vertical: [null], modes: [0, 2], variances: [0.01, 0.1]"
    of = f"{{sensors: [4], noise: [0.1], {compared}, lags: [[1.0], [3.0, 1.0]], time_scales: [2.0, 9.0], gap: 2}}"
    case = experiment_case(tmp_path, states / "states", localised=of, protocol="{seeds: 2}")
    run("localised", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/localised.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["lags"] != "" for row in rows] == [False, False, True]
    assert rows[2]["system"] == "localised, with earlier readings" and rows[2]["lags"] in ("1", "1 3")
    assert float(rows[2]["time_scale"]) in (2.0, 9.0) and 0.0 < float(rows[2]["error"]) < 1.5
    assert "T [s]" in (tmp_path / "out/localised.md").read_text(encoding="utf-8")


def test_the_table_has_both_systems_and_what_was_chosen(states, tmp_path):
    compared = "horizontal: [30.0, 60.0], vertical: [null], modes: [0], variances: [0.01, 0.1]"
    of = f"{{sensors: [4, 8], noise: [0.0, 0.1], {compared}, gap: 2, folds: 4}}"
    case = experiment_case(tmp_path, states / "states", localised=of, protocol="{seeds: 2}")
    run("localised", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/localised.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and {row["system"] for row in rows} == {"sample covariance", "localised"}
    for row in rows:
        assert 0.0 < float(row["error"]) < 1.5 and float(row["variance"]) in (0.01, 0.1)
        assert (row["horizontal"] in ("30.0", "60.0")) == (row["system"] == "localised")
    assert "± " in (tmp_path / "out/localised.md").read_text(encoding="utf-8")


def test_the_choice_is_the_least_mean_of_the_seeds():
    plain, near, far = Localising(None, None, 0, 0.1), Localising(10.0, None, 0, 0.1), Localising(90.0, None, 0, 0.1)
    errors = [{plain: 0.9, near: 0.2, far: 0.6}, {plain: 0.8, near: 0.9, far: 0.4}]
    assert best(errors) == [plain, far] and N_TRAINING == 24


def test_the_setting_is_that_of_least_error_over_blocks_in_time(states, tmp_path):
    compared = "horizontal: [30.0, 60.0], vertical: [null], modes: [0], variances: [0.01, 0.1]"
    of = f"{{sensors: [8], noise: [0.0], {compared}, gap: 2, folds: 4, states: 3, values: 99999}}"
    case = experiment_case(tmp_path, states / "states", localised=of, protocol="{seeds: 2}")
    run("localised", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/localised.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    known, tried = read_states(case), [Localising(L, None, 0, v) for L in (30.0, 60.0) for v in (0.01, 0.1)]
    errors = []
    for number, (withheld, others) in enumerate(known.folds(4, 2.0, 3)):
        covariance, sensors = SampleCovariance(known, others), known.sensors(8, number % 2)
        truth, mean = known.rows[withheld].astype(float), known.rows[others].astype(float).mean(axis=0)
        found = covariance.analyses(sensors, (truth - mean)[:, sensors].T, tried)
        state = {one: mean[known.used, None] + increment for one, increment in found}
        away = {one: np.linalg.norm(x.T - truth[:, known.used], axis=1) for one, x in state.items()}
        errors.append({one: np.mean(of / np.linalg.norm(truth, axis=1)) for one, of in away.items()})
    best = min(tried, key=lambda one: np.mean([of[one] for of in errors]))
    row = rows[1]
    assert (float(row["horizontal"]), float(row["variance"])) == (best.horizontal, best.variance)
    assert float(row["validation"]) == pytest.approx(np.mean([of[best] for of in errors]), rel=1e-6)
    assert float(row["validation_std"]) == pytest.approx(np.std([of[best] for of in errors], ddof=1), rel=1e-6)
    assert "| error in 4 folds |" in (tmp_path / "out/localised.md").read_text(encoding="utf-8")


def test_folds_keep_their_distance(states, tmp_path):
    known = read_states(experiment_case(tmp_path, states / "states"))
    folds = known.folds(4, 2.0, 3)
    assert [withheld.tolist() for withheld, _ in folds] == [[0, 2, 5], [6, 8, 11], [12, 14, 17], [18, 20, 23]]
    assert folds[1][1].tolist() == [0, 1, 2, 3, *range(14, N_TRAINING)]
    with pytest.raises(ConfigurationError, match="4 folds with a gap of 20 s leave 0 states beside one"):
        known.folds(4, 20.0, 3)
    runs = replace(known, times=np.tile(np.arange(15.0), 2)).folds(4, 2.0, 3)  # the second run begins with state 15
    assert runs[1][1].tolist() == [0, 1, 2, 3, *range(14, N_TRAINING)] and runs[3][1].tolist() == [*range(16)]
    alone = known.of_fold(*folds[1])
    assert alone.n_training == 14 and alone.times[alone.test()].tolist() == [6.0, 8.0, 11.0]
    np.testing.assert_allclose(alone.training.mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_allclose(alone.restored(alone.truth(14)), known.restored(known.truth(6)), atol=1e-5)
