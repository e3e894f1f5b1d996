"""Analyses by an observation encoder: what they are, when they are TSVD's, and that ranks make no difference."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from assimilation import OUTSIDE, make_readings
from latent_background import case_of, latent_background, save_encoder, save_network, with_network
from mpi4py import MPI

from da.observation.encoded import code_variance, noisy_readings
from da.observation.quality import Flag
from plugin.case.configuration import ConfigurationError, MinimiserSection
from plugin.case.observations import ObservationSection, QualitySection, ThinningSection
from plugin.readings.of_case import readings_of
from plugin.state.transfer import values_at
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.latent import read_latent
from plugin.window.observations.selection import FirstGuess, ObservationSettings

COMM = MPI.COMM_SELF
BELIEVED = {"cost_ratio": 1e3}  # the encoder is not trained


@pytest.fixture(scope="module")
def given():
    return latent_background(COMM)


@pytest.fixture(scope="module")
def files(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    save_network(folder / "network.safetensors", given[0])
    save_encoder(folder / "encoder.safetensors", folder / "network.safetensors")
    return folder / "network.safetensors", folder / "encoder.safetensors"


def made(given, files, **latent):
    """A background with the networks."""
    background, state = given
    latent = {"trust": BELIEVED, **latent}
    return with_network(background, read_latent(case_of(*files, **latent), background.transfer, COMM)), state


def analysed(background, state, readings, cache=None, **settings):
    return assimilate(background, state, readings, COMM, MinimiserSection(), ObservationSettings(**settings), cache)


def inside(background, state):
    readings = make_readings(background, state)
    return readings.select(np.arange(len(readings)) != OUTSIDE)


@pytest.mark.parametrize("form", ["centred", "paper"])
@pytest.mark.parametrize("variance", [None, 3.0])
def test_the_papers_minimum_of_what_the_encoder_gives(given, files, form, variance):
    background, state = made(given, files, form=form, variance=variance)
    readings, latent = inside(background, state), background.latent
    found = analysed(background, state, readings)
    transfer, encoder, modes = background.transfer, latent.encoder, latent.modes
    h, scale = found.inputs.operator, latent.decoder.scale
    assert found.network.summary()["transform"] == "bireduced" and found.analysis.reason == "CLOSED_FORM"
    # by hand
    x_b = transfer.to_grid(state)
    before = h.observe(x_b - latent.mean) if form == "centred" else 0.0
    names = [v.name for v in transfer.variables]
    order = found.inputs.reading_operator.reading
    channel = np.array([names.index(name) for name in readings.variable])[order]
    layout = encoder.sensors.weights(readings.position[order] - transfer.grid.origin, channel)

    def encode(values):
        with torch.no_grad():
            return encoder.network.encode(torch.as_tensor(layout.to_grid(values.T))).numpy().T

    base, d = 0.0, encode(((found.inputs.innovation + before) / h.observe(scale))[:, None])[:, 0]
    if form == "centred":
        base, d = latent.decoder.encode(x_b - latent.mean), d - encode((before / h.observe(scale))[:, None])[:, 0]
    r = np.full(6, variance)
    if variance is None:
        known = noisy_readings(h, found.inputs.error, scale, encoder.states, order)
        r = code_variance(encode(known), encoder.codes)
    v = modes.vectors
    w = np.linalg.solve(np.eye(v.shape[1]) + v.T @ (v / r[:, None]), v.T @ (d / r))
    np.testing.assert_allclose(found.analysis.control, w, rtol=1e-9, atol=1e-11)
    expected = latent.decoder.apply(base + v @ w) - (latent.decoder.apply(base) if form == "centred" else 0.0)
    np.testing.assert_allclose(found.analysis.increment, expected, rtol=1e-9, atol=1e-9)


def test_the_order_of_readings_makes_no_difference(given, files):
    background, state = made(given, files, variance=3.0)
    readings = make_readings(background, state)
    one, other = (analysed(background, state, of) for of in (readings, readings.select(np.arange(12)[::-1])))
    np.testing.assert_allclose(one.analysis.increment, other.analysis.increment, rtol=1e-9, atol=1e-11)


def test_readings_that_the_background_meets_change_nothing(given, files):
    background, state = made(given, files)
    readings = inside(background, state)
    met, _ = values_at(state, background.transfer, readings.position, readings.variable)
    found = analysed(background, state, replace(readings, value=met))
    np.testing.assert_allclose(found.analysis.control, 0.0, atol=1e-12)


def test_what_is_prepared_lasts_as_long_as_the_sensors(given, files):
    background, state = made(given, files)
    readings, cache = inside(background, state), AnalysisCache()
    first = analysed(background, state, readings, cache)
    more = analysed(background, state, replace(readings, value=readings.value + 0.1), cache)
    assert cache.encoding.computed == 1 and not np.array_equal(first.analysis.control, more.analysis.control)
    exact = cache.encoding.result_for((), lambda: None, COMM)  # empties it
    assert exact is None
    sizes = []
    for factor in (1.0, 30.0):
        analysed(background, state, replace(readings, error=factor * readings.error), cache)
        sizes.append(cache.encoding._result[2].error.std_local.mean())
    assert cache.encoding.computed == 4 and sizes[1] > 1.1 * sizes[0]


@pytest.mark.parametrize("names", [["Tracer"], ["Velocity.x", "Velocity.y"]])
def test_a_variable_without_readings(given, files, names):
    background, state = made(given, files)
    readings = inside(background, state)
    found = analysed(background, state, readings.select(np.isin(readings.variable, names)))
    assert found.network.summary()["transform"] == "bireduced" and np.isfinite(found.analysis.increment).all()


def test_quality_averages_and_readings_at_their_own_times(given, files):
    background, state = made(given, files, variance=3.0)
    readings = inside(background, state)
    # two readings at one place and their average are one to the encoder
    pair = replace(readings.select([0, 0, 1, 2]), value=readings.value[[0, 0, 1, 2]] + np.array([0.2, -0.2, 0.0, 0.0]))
    quality = QualitySection(thinning=ThinningSection(cell=1.0))
    averaged, plain = analysed(background, state, pair, quality=quality), analysed(background, state, pair)
    assert averaged.inputs.operator.n_observations == 3
    np.testing.assert_allclose(averaged.analysis.increment, plain.analysis.increment, rtol=1e-9, atol=1e-11)
    # a reading that is out is as if it were not there
    flagged = ((Flag.STUCK, np.arange(len(readings)) == 3),)
    without = analysed(background, state, readings.select(np.arange(len(readings)) != 3))
    screened = analysed(background, state, readings, flagged=flagged)
    np.testing.assert_allclose(screened.analysis.increment, without.analysis.increment, rtol=1e-9, atol=1e-11)
    # the innovation is what counts, and not the value
    model = readings.value - 0.5
    first_guess = FirstGuess(model, np.ones(len(readings), bool), np.ones(len(readings), bool))
    early = analysed(background, state, readings, first_guess=first_guess)
    np.testing.assert_allclose(early.inputs.innovation, 0.5)
    same = analysed(background, state, replace(readings, value=early.inputs.innovation[0] + 0.0 * readings.value),
                    first_guess=replace(first_guess, value=0.0 * model))  # fmt: skip
    np.testing.assert_allclose(early.analysis.increment, same.analysis.increment, rtol=1e-9, atol=1e-11)


def tripped(background, state, readings, given):
    found, expected = analysed(background, state, readings), analysed(given[0], state, readings)
    np.testing.assert_array_equal(found.analysis.increment, expected.analysis.increment)
    assert found.table == expected.table and found.network.analysis is None
    told = found.network.summary()
    assert told["transform"] == "tsvd"
    return told


def test_an_analysis_that_does_not_help_is_tsvds(given, files):
    background, state = made(given, files, trust={"cost_ratio": 1e-3})
    told = tripped(background, state, make_readings(background, state), given)
    assert told["reason"].startswith("observation cost ratio") and len(told["checks"]) == 3


def test_a_background_that_the_network_does_not_know_is_tsvds(given, files):
    background, state = made(given, files)
    latent = background.latent
    noise = np.random.default_rng(1).normal(size=len(latent.mean)) * latent.decoder.scale
    background = replace(background, latent=replace(latent, mean=latent.mean + 5.0 * noise))
    assert "round trip" in tripped(background, state, make_readings(background, state), given)["reason"]


def out_of_memory(spread):
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (out_of_memory, "RuntimeError: out of memory"),
        (lambda spread: torch.full((len(spread), 6), torch.nan), "ValueError: its codes hold a NaN or an infinity"),
    ],
)
def test_an_encoder_that_fails_is_tsvds(given, files, fails, reason):
    background, state = made(given, files)
    background.latent.encoder.network.encode = fails
    told = tripped(background, state, make_readings(background, state), given)
    assert told["reason"] == f"the observation encoder failed: {reason}"


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"variables": ["Tracer", "Velocity.x", "Velocity.z"]}, "another variables"),
        ({"autoencoder": "0" * 64}, "another autoencoder: 000"),
        ({"grid": {"origin": [0, 0, 0], "spacing": [1, 1, 1], "shape": [9, 7, 5]}}, "another grid"),
    ],
)
def test_an_encoder_for_something_else_is_refused(given, files, tmp_path, metadata, told):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, files[0], **metadata)
    with pytest.raises(ConfigurationError, match=f"network.observations.file: .*encoder.safetensors.*{told}"):
        read_latent(case_of(files[0], path), given[0].transfer, COMM)


def test_no_encoder(given, files, tmp_path):
    with pytest.raises(ConfigurationError, match="network.observations.file: .*none.safetensors: no such file"):
        read_latent(case_of(files[0], tmp_path / "none.safetensors"), given[0].transfer, COMM)
    save_encoder(tmp_path / "other.safetensors", files[0], autoencoder=None)
    with pytest.raises(ConfigurationError, match="another autoencoder: null"):
        read_latent(case_of(files[0], tmp_path / "other.safetensors"), given[0].transfer, COMM)


def test_speeds_are_refused(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_text("time,x,y,z,variable,value,error\n1,2,3,4,Velocity.speed,5,0.1\n")
    observations = ObservationSection(file=path)
    case = SimpleNamespace(
        observations=observations, variables=["Velocity"], background=SimpleNamespace(transform="bireduced")
    )
    with pytest.raises(ConfigurationError, match="bireduced takes values .* of Velocity.speed; leave them"):
        readings_of(case)


@pytest.mark.parametrize("n", [2, 3])
def test_same_over_ranks(given, files, mpirun, tmp_path, n):
    background, state = made(given, files)
    one = analysed(background, state, make_readings(background, state))
    mpirun(n, "tests/plugin/window/parallel_observation_encoding.py", *files, tmp_path / "found.npz")
    other = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(other["control"], one.analysis.control, rtol=1e-9, atol=1e-10)
    scale = np.abs(one.analysis.increment).max()
    np.testing.assert_allclose(other["increment"], one.analysis.increment, atol=1e-10 * scale)
