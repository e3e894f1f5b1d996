"""States, systems and scores of the experiments, against the paper's formulas written with dense matrices."""

from pathlib import Path

import numpy as np
import pytest
from experiment_case import COMM, N_TRAINING, experiment_case, write_states

from coupling.archive.series import open_series
from da.minimisation.minimise import MinimisationError
from models import zoo
from models.training.evaluation import codes_and_round_trips
from models.zoo.linear import Linear
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import ProtocolSection
from plugin.experiment.networks import Network
from plugin.experiment.scores import relative_error, score
from plugin.experiment.states import read_states
from plugin.experiment.systems import (
    System,
    autoencoder,
    background,
    decoded,
    interpolation,
    leading,
    linear,
    reduced,
    tsvd,
)
from plugin.state.grid import make_grid_of
from plugin.state.transfer import Transfer, variables_of

PROTOCOL = ProtocolSection(gradient_tolerance=1e-12)
ALPHA, VARIANCE = 0.1, 0.05


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    write_states(folder / "states")
    return experiment_case(folder, folder / "states")


@pytest.fixture(scope="module")
def states(case):
    return read_states(case)


def test_states_are_standardised_by_the_training_part(case, states):
    with open_series(case.background.snapshots[0].path, COMM) as series:
        read = [series.read(k, ["Tracer"]) for k in range(len(series))]
    grid = make_grid_of(case, read[0]["Tracer"].mesh, COMM, case.run / "cache")
    transfer = Transfer(grid, variables_of(["Tracer"], read[0]), COMM, case.run / "cache")
    columns = np.stack([transfer.to_grid(state) for state in read])
    training = columns[:N_TRAINING]
    std = training.std(axis=0, ddof=1)
    air = grid.fluid_points & (std > 1e-3 * std.max())
    assert states.n_training == N_TRAINING and (states.used == np.flatnonzero(air)).all() and 0 < air.sum() < len(air)
    expected = (columns - training.mean(axis=0))[:, air] / std[air]
    np.testing.assert_allclose(states.rows[:, air], expected, atol=1e-5)
    assert not states.rows[:, ~air].any()
    np.testing.assert_allclose(states.restored(states.truth(27))[air], columns[27][air], atol=1e-5)
    assert states.fields.shape == (30, 1, 17, 8, 7) and states.test().tolist() == [24, 25, 26, 27, 28, 29]
    np.testing.assert_array_equal(states.fields[3][states.part], states.rows[3][states.used])


def dense(v, sensors, readings, alpha=ALPHA):
    """V w of the least ½ α wᵀw + ½ ‖d − H V w‖² / σ_o²."""
    seen = v[sensors]
    w = np.linalg.solve(alpha * np.eye(v.shape[1]) + seen.T @ seen / VARIANCE, seen.T @ readings / VARIANCE)
    return v @ w


def anomalies(states):
    """(n, S) V, unscaled."""
    x = states.training.astype(np.float64)
    return x - x.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("part", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("tau", [1, 4, None])
def test_linear_systems_are_the_papers_closed_form(states, part, tau):
    v = anomalies(states)
    left, sigma, _ = np.linalg.svd(v, full_matrices=False)
    modes, root = reduced(states, PROTOCOL), v
    if tau is not None:
        modes, root = tsvd(states, PROTOCOL, tau), left[:, :tau] * sigma[:tau]
    system, count = linear("system", modes, PROTOCOL), states.count(part)
    sensors, truth = states.sensors(count), states.truth(26)
    increment, seconds = system.prepare(sensors)(truth[sensors])
    np.testing.assert_allclose(increment, dense(root, sensors, truth[sensors]), atol=1e-9)
    assert seconds > 0.0
    errors = score([system], states, PROTOCOL, count).errors
    assert errors.shape == (1 if part == 1.0 else 3, 6)
    assert errors[0, 2] == pytest.approx(relative_error(dense(root, sensors, truth[sensors]), truth), rel=1e-9)


def test_all_modes_are_those_of_the_reduced_space(states):
    every, sensors, truth = tsvd(states, PROTOCOL, 1.0), states.sensors(40), states.truth(25)
    both = every, reduced(states, PROTOCOL)
    found = [linear("", modes, PROTOCOL).prepare(sensors)(truth[sensors])[0] for modes in both]
    np.testing.assert_allclose(*found, atol=1e-8)


def test_leading_modes_are_those_of_a_truncation(states):
    found = leading(tsvd(states, PROTOCOL, 9), 4)
    np.testing.assert_allclose(found.vectors, tsvd(states, PROTOCOL, 4).vectors, atol=1e-10)


def test_a_plain_search_ends_near_the_closed_form(states):
    modes, sensors, truth = tsvd(states, PROTOCOL, 4), states.sensors(60), states.truth(28)
    plain = PROTOCOL.model_copy(update={"preconditioned": False, "gradient_tolerance": 1e-2})
    found = linear("plain", modes, plain).prepare(sensors)(truth[sensors])[0]
    expected = dense(modes.vectors, sensors, truth[sensors])
    assert 1e-12 < np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def test_the_background_scores_one(states):
    assert (score([background(states)], states, PROTOCOL, 10).errors == 1.0).all()


@pytest.mark.parametrize("count", [10, 200])
def test_optimal_interpolation_is_the_gain_of_the_sample_covariance(states, count):
    sensors, truth = states.sensors(count), states.truth(29)
    b = np.cov(states.training.astype(np.float64))
    gain = b[:, sensors] @ np.linalg.inv(b[np.ix_(sensors, sensors)] + VARIANCE * np.eye(count))
    found, _ = interpolation("OI", states, PROTOCOL).prepare(sensors)(truth[sensors])
    np.testing.assert_allclose(found, gain @ truth[sensors], atol=1e-10)


@pytest.fixture(scope="module")
def network(states):
    model = zoo.make("Backbone", 1, states.grid.shape, mask=states.grid.fluid).eval()
    codes, _ = codes_and_round_trips(model, states.fields[:N_TRAINING], COMM, states.part)
    return Network(model, codes, 0.0, {}, Path("none"))


def test_a_networks_analysis_is_the_papers(states, network):
    """d_l = f(truth), J in latent space, δx = g(V_l w)."""
    system, number = autoencoder("Backbone", states, PROTOCOL, network), 27
    found, _ = system.prepare(states.used)(states.truth(number)[states.used])
    codes, model = network.codes.astype(np.float64), network.model
    seen, _ = codes_and_round_trips(model, states.fields[[number]], COMM, states.part)
    weights = np.linalg.solve(
        ALPHA * np.eye(codes.shape[1]) + codes.T @ codes / VARIANCE, codes.T @ seen[:, 0].astype(np.float64) / VARIANCE
    )
    latent = type(model.mask)(codes @ weights)[None]
    expected = model.decode(latent).detach().numpy().ravel() * (states.scale != 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    assert system.observes_all and system.numbers == model.n_latent and network.parameters > 1e5


def test_a_decoder_of_tsvds_factors_gives_tsvds_analysis(states):
    modes = tsvd(states, PROTOCOL, 4)
    factors = modes.vectors / modes.singular_values[:4]
    codes = factors.T @ states.training
    model = Linear(1, states.grid.shape, 4, factors, states.grid.fluid)
    system = decoded("decoded", states, PROTOCOL, Network(model, codes, 0.0, {}, Path("none")))
    sensors, truth = states.sensors(30), states.truth(24)
    found, seconds = system.prepare(sensors)(truth[sensors])
    np.testing.assert_allclose(found, dense(modes.vectors, sensors, truth[sensors]), atol=1e-7)
    assert seconds > 0.0 and system.numbers == N_TRAINING


def test_an_analysis_that_is_not_found_leaves_the_background(states):
    def failing(readings):
        raise MinimisationError("no")

    found = score([System("none", 0, 0, lambda sensors: failing)], states, PROTOCOL, 10)
    assert (found.errors == 1.0).all() and found.failed == 18


def test_noise_and_places_are_drawn_anew_for_each_seed(states):
    system = linear("TSVD", tsvd(states, PROTOCOL, 4), PROTOCOL)
    noisy = PROTOCOL.model_copy(update={"noise": 0.5, "seeds": 2})
    found = score([system], states, noisy, len(states.used))
    assert found.errors.shape == (2, 6) and (found.errors[0] != found.errors[1]).all()
    told = found.figures()
    assert told["error"] == pytest.approx(found.errors.mean()) and told["error_std"] > 0.0
    assert states.sensors(20, 0).tolist() == states.sensors(20, 0).tolist() != states.sensors(20, 1).tolist()


def test_more_sensors_than_values_are_refused(states):
    with pytest.raises(ConfigurationError, match="9999 sensors, only"):
        states.sensors(9999)


def test_a_truncation_that_is_not_there_is_refused(states):
    with pytest.raises(ConfigurationError, match="experiment.truncation: truncation τ = 99"):
        tsvd(states, PROTOCOL, 99)
