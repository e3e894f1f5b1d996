"""The experiment of refined analyses: its linear part is the lagged one's, and training begins with it."""

import csv

import numpy as np
import pytest
import torch
from experiment_case import experiment_case, write_states
from mpi4py import MPI

from models.zoo.refinement import Refinement
from plugin.case.anamorphosis import VariableSection
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.experiment.anamorphosis import with_anamorphoses
from plugin.experiment.lagged_gain import LaggedCovariance, Lagging, readings_before
from plugin.experiment.localised_gain import Localising, SampleCovariance
from plugin.experiment.refinement import Refined, relative_errors, scored_truth
from plugin.experiment.refinement_inputs import LaggedAnalyses, with_history
from plugin.experiment.states import read_states
from plugin.run.progress import Progress

COMM = MPI.COMM_SELF
OF = "{sensors: [4, 8], noise: [0.0, 0.1], rounds: 1, lags: [1.0]}"
LINEAR = "{horizontal: [30.0, 60.0], vertical: [null], modes: [0, 2], variances: [0.01], folds: 3, gap: 1.0}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refined")
    write_states(folder / "states")
    return folder


@pytest.fixture(scope="module")
def states(folder, tmp_path_factory):
    return read_states(experiment_case(tmp_path_factory.mktemp("case"), folder / "states"))


@pytest.fixture(scope="module")
def roots(states):
    return with_anamorphoses(states, {"Tracer": VariableSection(anamorphosis="sqrt")})


@pytest.mark.parametrize(
    "of",
    [
        Lagging(Localising(40.0, 30.0, 2, 0.01), (1.0, 2.0), 3.0),
        Lagging(Localising(50.0, None, 0, 0.1), (2.0,), np.inf),
        Lagging(Localising(50.0, None, 3, 0.1), (), np.inf),
    ],
)
def test_the_analyses_are_those_of_the_lagged_experiment(states, of):
    numbers, sensors = np.arange(states.n_training), states.sensors(6, 1)
    known, rows = LaggedAnalyses(states, numbers), np.searchsorted(states.used, sensors)
    readings = np.random.default_rng(0).standard_normal((len(of.lags) + 1, 6, 3))
    got = known.gain(rows, of).analyses(readings)
    covariance = LaggedCovariance(SampleCovariance(states, numbers), states.times)
    ((_, expected),) = covariance.analyses(sensors, readings - known.background[rows][:, None], [of])
    np.testing.assert_allclose(got, known.background + expected.T, atol=5e-5)


def test_the_errors_are_those_of_the_dense_posterior(states):
    of, rows = Localising(40.0, 30.0, 0, 0.05), np.array([3, 50, 200])
    known = LaggedAnalyses(states, np.arange(states.n_training))
    gain = known.gain(rows, Lagging(of, (), np.inf))
    covariance = SampleCovariance(states, np.arange(states.n_training))
    taper = covariance.taper(of, rows)
    c = taper * (covariance.anomalies @ covariance.anomalies[rows].T)
    variance = np.sum(covariance.anomalies**2, axis=1)
    left = variance - np.sum(c @ np.linalg.inv(c[rows] + of.variance * np.eye(3)) * c, axis=1)
    np.testing.assert_allclose(gain.std, np.sqrt(left), atol=1e-4)
    np.testing.assert_allclose(gain.nearness, taper.max(axis=1), atol=1e-6)


def test_inputs_hold_the_analyses_of_now_and_of_each_lag_before(states):
    of, rows = Lagging(Localising(60.0, None, 1, 0.02), (1.0, 2.0), 4.0), np.array([3, 50, 200])
    numbers, noise = np.array([6, 9]), np.random.default_rng(2).standard_normal((len(states.rows), 3))
    gain = LaggedAnalyses(states, np.arange(states.n_training)).gain(rows, of)
    inputs = gain.inputs(states, numbers, noise, 0.3)
    spacing = states.times[1] - states.times[0]
    analyses = [
        gain.analyses(readings_before(states, numbers - round(lag / spacing), states.used[rows], of.lags, noise))
        for lag in (0.0, 1.0, 2.0)
    ]
    np.testing.assert_array_equal(inputs[:, 0], analyses[0])
    np.testing.assert_array_equal(inputs[:, 6:], np.stack([one - analyses[0] for one in analyses[1:]], axis=1))
    innovation = states.rows[numbers][:, states.used[rows]] + noise[numbers] - gain.background[rows]
    np.testing.assert_allclose(inputs[:, 3, rows], innovation, rtol=1e-5)
    assert not np.delete(inputs[:, 3], rows, axis=1).any()
    with pytest.raises(ValueError, match="a state has none"):
        gain.inputs(states, np.array([3]), noise, 0.3)
    assert with_history(states, np.arange(8), of.lags).tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("transformed", [False, True])
def test_an_untrained_refinement_is_the_linear_analysis_and_is_scored_as_others_are(states, roots, transformed):
    of = roots if transformed else states
    numbers, rows = np.array([6, 9]), np.array([3, 50, 200])
    gain = LaggedAnalyses(of, np.arange(20)).gain(rows, Lagging(Localising(60.0, None, 1, 0.02), (1.0, 2.0), 4.0))
    inputs = torch.from_numpy(gain.inputs(of, numbers, np.zeros((len(of.rows), 3)), 0.0))
    refined = Refined(Refinement(of.grid.shape, 2), of)
    with torch.no_grad():
        analyses = refined.analyses(inputs)
        torch.testing.assert_close(analyses, refined.linear(inputs), rtol=0.0, atol=0.0)
    errors = relative_errors(analyses, torch.from_numpy(scored_truth(of, numbers)))
    expected = of.errors(inputs[:, 0].numpy().T.astype(np.float64), numbers, of.used)
    np.testing.assert_allclose(errors, expected, rtol=1e-4)


def test_the_derivative_of_what_is_scored_is_that_of_the_variable(roots):
    refined = Refined(Refinement(roots.grid.shape, 0), roots)
    values = torch.from_numpy(roots.rows[5:7][:, roots.used]).double().requires_grad_()
    mean, scale = (torch.from_numpy(part[roots.used]) for part in (roots.mean, roots.scale))
    bound = (np.sqrt(roots.forms[0].offset) - mean) / scale
    above = torch.maximum(values, bound + 0.01).detach().requires_grad_()
    direction = torch.from_numpy(np.random.default_rng(3).standard_normal(above.shape))
    refined.scored(above).square().sum().backward()
    slope = (above.grad * direction).sum()
    with torch.no_grad():
        near = [refined.scored(above + step * direction).square().sum() for step in (1e-6, -1e-6)]
    np.testing.assert_allclose(slope, (near[0] - near[1]) / 2e-6, rtol=1e-5)


def test_the_table_has_linear_and_refined_analyses_and_the_networks_are_kept(folder, tmp_path):
    nets = "{folder: nets, seeds: 2}"
    case = experiment_case(
        tmp_path, folder / "states", refined=OF, localised=LINEAR, networks=nets, protocol="{seeds: 2}"
    )
    tables = []
    for out in ("one", "two"):
        run("refined", case, Progress(COMM), tmp_path / out)
        with open(tmp_path / out / "refined.csv", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert tables[0] == tables[1] and len(list((tmp_path / "nets").iterdir())) == 2
    names = ["sample covariance", "localised", "localised, with earlier readings", "refined", "refined"]
    assert [row["system"] for row in tables[0]] == 4 * names
    assert [row["training"] for row in tables[0][:5]] == ["", "", "", "0", "1"]
    assert all(0.0 < float(row["error"]) < 2.0 for row in tables[0])


def test_a_network_that_adds_nothing_has_the_errors_of_the_linear_rows(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("plugin.experiment.refinement._train", lambda refined, draws, rounds, progress: None)
    case = experiment_case(tmp_path, folder / "states", refined=OF, localised=LINEAR, networks="{folder: nets}")
    rows = run("refined", case, Progress(COMM), tmp_path / "out").tables[0].rows
    for linear, refined in zip(rows[2::4], rows[3::4], strict=True):
        assert (linear["system"], refined["system"]) == ("localised, with earlier readings", "refined")
        np.testing.assert_allclose(refined["error"], linear["error"], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{lags: [0.7], rounds: 1, sensors: [4]}", "experiment.refined.lags: .* multiples of that"),
        ("{sensors: [4, 1000000]}", "1000000 sensors, only"),
        ("{lags: [13.0], rounds: 1, sensors: [4]}", "a test state has none by twice the longest"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, settings, message):
    case = experiment_case(tmp_path, folder / "states", refined=settings, networks="{folder: nets}")
    with pytest.raises(ConfigurationError, match=message):
        run("refined", case, Progress(COMM), tmp_path / "out")


def test_a_file_of_another_training_is_refused(folder, tmp_path):
    for lags in ("[1.0]", "[2.0]"):
        settings = OF.replace("[1.0]", lags)
        case = experiment_case(
            tmp_path, folder / "states", refined=settings, localised=LINEAR, networks="{folder: nets}"
        )
        if lags == "[1.0]":
            run("refined", case, Progress(COMM), tmp_path / "out")
        else:
            with pytest.raises(ConfigurationError, match="other states or settings"):
                run("refined", case, Progress(COMM), tmp_path / "out")
