"""Experiments that analyse a transformed variable: its states, readings and scores, and each experiment with them."""

import csv

import numpy as np
import pytest
from experiment_case import N_TRAINING, experiment_case, write_states
from mpi4py import MPI

from plugin.case.anamorphosis import VariableSection
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import ProtocolSection
from plugin.experiment.__main__ import run
from plugin.experiment.anamorphosis import with_anamorphoses
from plugin.experiment.block_codec import codec_errors
from plugin.experiment.localised_gain import Localising, SampleCovariance
from plugin.experiment.mode_errors import ModeErrors, Truncating
from plugin.experiment.scores import score
from plugin.experiment.states import noise, read_states
from plugin.experiment.systems import leading, linear, tsvd
from plugin.run.progress import Progress

COMM = MPI.COMM_SELF
LOWER = -20.0  # below all values of the states
NONE = "{names: [], beside: null}"
KINDS = ("sqrt", "log", "quantile")
PROTOCOL = ProtocolSection(gradient_tolerance=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("anamorphosed")
    write_states(made / "states")
    return made


@pytest.fixture(scope="module")
def plain(folder):
    return read_states(experiment_case(folder, folder / "states"))


def section(kind, **more):
    return {"Tracer": VariableSection(**{"anamorphosis": kind, "lower": LOWER, **more})}


@pytest.fixture(scope="module")
def transformed(plain):
    return {kind: with_anamorphoses(plain, section(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_standardised_transformed_values(plain, transformed, kind):
    states = transformed[kind]
    (form,), used = states.forms, plain.used
    values = form.forward(plain.restored(plain.rows.astype(float))[:, used])
    training = values[:N_TRAINING]
    np.testing.assert_allclose(states.mean[used], training.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(states.scale[used], training.std(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(states.used, used)
    expected = (values - training.mean(axis=0)) / training.std(axis=0)
    np.testing.assert_allclose(states.rows[:, used], expected, atol=1e-4)
    assert states.about["anamorphosis"] == {"Tracer": form.description}


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_its_own_analysis_and_the_mean_of_plain_states_scores_one(plain, transformed, kind):
    states, numbers = transformed[kind], plain.test()
    truth = states.rows[numbers].astype(float)
    assert states.errors(truth[:, states.used].T, numbers, states.used) == pytest.approx(np.zeros(6), abs=1e-4)
    background = states.standardised(np.tile(plain.mean, (6, 1)))
    assert states.errors(background[:, states.used].T, numbers, states.used) == pytest.approx(np.ones(6), abs=1e-4)
    whole = states.restored(states.rows[numbers].astype(float))
    np.testing.assert_allclose(whole, plain.restored(plain.rows[numbers].astype(float)), atol=1e-4)
    some = states.used[::7]
    np.testing.assert_allclose(states.restored(truth[:, some], some), whole[:, some])
    low = states.restored(np.full((1, states.n), -1e4))
    assert low[:, states.used].min() >= LOWER and low[:, states.used].min() == pytest.approx(LOWER, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_put_on_before_the_transformation(plain, transformed, kind):
    states, numbers, sensors = transformed[kind], np.array([25, 3]), plain.sensors(9, 1)
    drawn = 0.4 * np.random.default_rng(0).standard_normal((2, 9))
    exact = states.readings(numbers, sensors)
    np.testing.assert_allclose(exact, states.rows[np.ix_(numbers, sensors)], atol=1e-4)
    values = plain.restored(plain.rows[numbers].astype(float))[:, sensors] + drawn * plain.scale[sensors]
    expected = (states.forms[0].forward(values) - states.mean[sensors]) / states.scale[sensors]
    np.testing.assert_allclose(states.readings(numbers, sensors, drawn), expected, atol=1e-9)


def test_without_a_section_nothing_changes(plain):
    assert with_anamorphoses(plain, {}) is plain
    assert plain.readings(np.array([2]), plain.used)[0] == pytest.approx(plain.rows[2, plain.used])


def test_a_fold_and_validation_have_their_own_plain_states(transformed):
    states = transformed["sqrt"]
    fold = states.of_fold(*states.folds(4, 2.0, 3)[1])
    for of in (fold, states.validation()):
        truth = of.rows[of.test()].astype(float)[:, of.used]
        assert of.errors(truth.T, of.test(), of.used) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("count", [8, 40])
def test_errors_in_the_space_of_modes_are_those_of_3d_var(transformed, count):
    states, of = transformed["sqrt"], Truncating(5, 0.02)
    found = ModeErrors(states, PROTOCOL).errors(count, 1, [of], 0.2)[of]
    protocol = PROTOCOL.model_copy(update={"unbiased": True, "background_weight": 1.0, "variance": 0.02, "noise": 0.2})
    system = linear("", leading(tsvd(states, protocol, 1.0), 5), protocol)
    assert found == pytest.approx(score([system], states, protocol.model_copy(update={"seeds": 2}), count).errors[1])
    analysed, sensors, used = system.prepare(states.sensors(count, 1)), states.sensors(count, 1), states.used
    number = states.test()[2]
    increment, _ = analysed(states.readings(np.array([number]), sensors, noise(protocol, count, 1, number))[0])
    values, (plain,) = states.restored(increment)[used], [states.plain]
    away = (values - plain.mean[used]) / plain.scale[used] - plain.rows[number, used]
    assert found[2] == pytest.approx(np.linalg.norm(away) / np.linalg.norm(plain.rows[number, used]), rel=1e-6)


@pytest.mark.parametrize("points", [None, (8, 8, 7), (2, 2, 2)])
def test_blocks_are_scored_in_the_variable(transformed, points):
    states = transformed["log"]
    plainly = codec_errors(states.plain, points, [12, 99999], PROTOCOL)
    found = codec_errors(states, points, [12, 99999], PROTOCOL)
    assert np.all(found[1].codec < found[0].codec) and np.all(found[0].codec > 0.0)
    # far from its bound a logarithm is nearly a line
    np.testing.assert_allclose(found[0].codec, plainly[0].codec, rtol=0.5)
    if points is None:
        every = tsvd(states, PROTOCOL, 1.0)
        base = every.vectors[:, :12] / every.singular_values[:12]
        truth = states.rows[states.test()].astype(float)
        described = (truth @ base @ base.T)[:, states.used].T
        np.testing.assert_allclose(found[0].codec, states.errors(described, states.test(), states.used), rtol=1e-5)


def test_the_gain_is_that_of_transformed_states(transformed):
    states = transformed["sqrt"]
    ((_, found),) = SampleCovariance(states, np.arange(N_TRAINING)).analyses(
        states.sensors(6, 1), np.ones((6, 1)), [Localising(40.0, None, 0, 0.01)]
    )
    ((_, plain),) = SampleCovariance(states.plain, np.arange(N_TRAINING)).analyses(
        states.sensors(6, 1), np.ones((6, 1)), [Localising(40.0, None, 0, 0.01)]
    )
    assert found.shape == plain.shape and not np.allclose(found, plain)


@pytest.mark.parametrize("name", ["localised", "sparse", "tables", "truncation"])
def test_experiments_of_linear_analyses(folder, tmp_path, name):
    compared = "horizontal: [30.0], vertical: [null], modes: [0], variances: [0.01, 0.1], values: 500, gap: 2"
    words = {
        "localised": f"{{sensors: [8], noise: [0.1], {compared}, lags: [[1.0]], time_scales: [4.0]}}",
        "sparse": "{sensors: [8]}", "parts": "[1.0, 0.1]", "truncations": "[2]", "networks": NONE,
        "blocks": "{numbers: [8], points: [[8, 8, 7]]}", "protocol": "{seeds: 2}",
    }  # fmt: skip
    case = experiment_case(tmp_path, folder / "states", **words)
    of = case.background.model_copy(update={"variables": section("log")})
    case = case.model_copy(update={"background": of})
    run(name, case, Progress(COMM), tmp_path / "out")
    for path in (tmp_path / "out").glob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            errors = [float(row["error"]) for row in csv.DictReader(file)]
        assert errors and all(0.0 < error < 1.5 for error in errors)


def test_what_cannot_be_is_refused(plain, folder, tmp_path):
    with pytest.raises(ConfigurationError, match="background.variables: Salt is not analysed"):
        with_anamorphoses(plain, {"Salt": VariableSection(anamorphosis="sqrt")})
    with pytest.raises(ConfigurationError, match="background.variables.Tracer: does not vary"):
        with_anamorphoses(plain, section("sqrt", lower=1e6))
    case = experiment_case(tmp_path, folder / "states", networks="{names: [Backbone], beside: null}")
    of = case.background.model_copy(update={"variables": section("sqrt")})
    with pytest.raises(ConfigurationError, match="Backbone would learn a transformed variable"):
        run("tables", case.model_copy(update={"background": of}), Progress(COMM), tmp_path / "out")
