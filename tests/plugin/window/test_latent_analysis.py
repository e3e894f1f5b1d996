"""Analyses by a network: TSVD's own by its factors, TSVD's in place of one that is not to be believed."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from assimilation import make_readings
from latent_background import case_of, latent_background, save_encoder, save_network, with_network
from mpi4py import MPI
from safetensors.torch import save_file

from models.files import load, load_arrays, save
from models.training.state import TrainingState, save_state
from plugin.case.configuration import ConfigurationError, MinimiserSection
from plugin.window.assimilate import assimilate
from plugin.window.background.latent import read_latent
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def given():
    return latent_background(COMM)


@pytest.fixture(scope="module")
def file(given, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_network(path, given[0])
    return path


def analysed(background, state, readings, method="lmvm", **treatment):
    return assimilate(
        background, state, readings, COMM, MinimiserSection(method=method), ObservationSettings(**treatment)
    )


@pytest.mark.parametrize("form", ["centred", "paper"])
@pytest.mark.parametrize("method", ["lmvm", "gauss_newton"])
@pytest.mark.parametrize("speeds", [False, True])
def test_a_network_of_tsvds_factors_gives_tsvds_analysis(given, file, form, method, speeds):
    background, state = given
    readings = make_readings(background, state, speeds)
    network = with_network(background, read_latent(case_of(file, form=form), background.transfer, COMM))
    found = analysed(network, state, readings, method, outer_loops=40)
    expected = analysed(background, state, readings, outer_loops=40)
    assert found.network.summary()["transform"] == "decoded" and found.network.trust.trusted
    assert len(found.network.trust.checks) == 3
    scale = np.abs(expected.analysis.increment).max()
    np.testing.assert_allclose(found.analysis.increment, expected.analysis.increment, atol=1e-8 * scale)
    for name, field in expected.changes.items():
        np.testing.assert_allclose(found.changes[name].values, field.values, rtol=1e-8, atol=1e-8)
    for one, two in zip(found.table, expected.table, strict=True):
        assert one["used"] == two["used"]
        assert one["residual"] is two["residual"] is None or one["residual"] == pytest.approx(two["residual"], abs=1e-7)


def tripped(background, state, readings, latent, **treatment):
    """What came of a network that is not to be believed; TSVD's analysis to the last bit."""
    found = analysed(with_network(background, latent), state, readings, **treatment)
    expected = analysed(background, state, readings, **treatment)
    np.testing.assert_array_equal(found.analysis.increment, expected.analysis.increment)
    assert found.table == expected.table and found.network.analysis is None
    told = found.network.summary()
    assert told["transform"] == "tsvd" and told["reason"] == found.network.reason != ""
    return told


def test_a_background_that_the_network_does_not_know_is_tsvds(given, file):
    background, state = given
    latent = read_latent(case_of(file), background.transfer, COMM)
    noise = np.random.default_rng(1).normal(size=len(latent.mean)) * latent.decoder.scale
    told = tripped(background, state, make_readings(background, state), replace(latent, mean=latent.mean + 5.0 * noise))
    assert "round trip error" in told["reason"] and not told["checks"]["round trip error"]["passed"]
    assert "observation cost ratio" not in told["checks"]


def test_a_background_far_from_the_training_is_tsvds(given, file):
    background, state = given
    latent = read_latent(case_of(file), background.transfer, COMM)
    far = latent.decoder.apply(100.0 * latent.modes.vectors[:, 0])
    told = tripped(background, state, make_readings(background, state), replace(latent, mean=latent.mean - far))
    assert told["reason"].startswith("latent distance") and told["checks"]["round trip error"]["passed"]


def test_an_analysis_that_helps_too_little_is_tsvds(given, file):
    background, state = given
    latent = read_latent(case_of(file, trust={"cost_ratio": 1e-3}), background.transfer, COMM)
    told = tripped(background, state, make_readings(background, state), latent)
    assert told["reason"].startswith("observation cost ratio")


def break_pass(decoder, part, by):
    """Put another function in place of a network's pass, and of that which runs where no derivative follows."""
    setattr(decoder.network, part, by)
    decoder.local.plain = replace(decoder.local.plain, **{part: by})


@pytest.mark.parametrize("form", ["centred", "paper"])
@pytest.mark.parametrize(("part", "passes"), [("encode", 0), ("decode", 0), ("decode", 1), ("decode", 2)])
def test_a_network_that_fails_is_tsvds(given, file, form, part, passes):
    background, state = given
    latent = read_latent(case_of(file, form=form), background.transfer, COMM)
    works = getattr(latent.decoder.network, part)
    calls = []

    def breaks(values):
        calls.append(values)
        if len(calls) > passes:
            raise RuntimeError("out of memory")
        return works(values)

    break_pass(latent.decoder, part, breaks)
    told = tripped(background, state, make_readings(background, state), latent)
    assert "out of memory" in told["reason"]
    assert passes or told["checks"] == {}


@pytest.mark.parametrize("part", ["encode", "decode"])
def test_a_network_that_gives_no_numbers_is_tsvds(given, file, part):
    background, state = given
    latent = read_latent(case_of(file), background.transfer, COMM)
    works = getattr(latent.decoder.network, part)

    def not_numbers(values):
        return works(values) * float("nan")

    break_pass(latent.decoder, part, not_numbers)
    tripped(background, state, make_readings(background, state), latent)


def test_no_readings_ask_nothing_of_the_network(given, file):
    background, state = given
    network = with_network(background, read_latent(case_of(file), background.transfer, COMM))
    found = analysed(network, state, make_readings(background, state).select([]))
    assert found.network is None and found.changes == {}


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"variables": ["Tracer", "Velocity.x", "Velocity.z"]}, "another variables.*Velocity.z.*Velocity.y"),
        ({"grid": {"origin": [0, 0, 0], "spacing": [1, 1, 1], "shape": [9, 7, 5]}}, "another grid"),
    ],
)
def test_a_network_for_something_else_is_refused(given, tmp_path, metadata, told):
    path = tmp_path / "network.safetensors"
    save_network(path, given[0], **metadata)
    with pytest.raises(ConfigurationError, match=f"network.file: .*network.safetensors.*{told}"):
        read_latent(case_of(path), given[0].transfer, COMM)


def test_no_file(given, tmp_path):
    with pytest.raises(ConfigurationError, match="network.file: .*none.safetensors: no such file"):
        read_latent(case_of(tmp_path / "none.safetensors"), given[0].transfer, COMM)


def _state_of_a_training(path, background):
    save_network(path, background)
    model, _ = load(path)
    save_state(path.parent, model, [], TrainingState(1, [], 1, 0.5, model.state_dict()), {}, 1)
    (path.parent / "epoch-0001.safetensors").rename(path)


def _encoder(path, background):
    save_network(path.with_name("net.safetensors"), background)
    save_encoder(path, path.with_name("net.safetensors"))


def _with_arrays(**changed):
    def write(path, background):
        save_network(path, background)
        model, about = load(path)
        kept = {key: about[key] for key in ("variables", "grid")}
        save(path, model, kept, {**load_arrays(path), **changed})

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path, _: path.mkdir(), "is a folder"),
        (lambda path, _: path.touch(), "not a whole safetensors file"),
        (lambda path, _: save_file({"w": torch.ones(2)}, path), "none of an autoencoder"),
        (lambda path, _: h5py.File(path, "w").close(), "not a whole safetensors file"),
        (_state_of_a_training, "holds the state of a training, expected an autoencoder"),
        (_encoder, "holds an observation encoder, expected an autoencoder"),
        (_with_arrays(mean=np.ones(7)), r"mean of shape \[7\], expected"),
        (_with_arrays(scale=np.ones((2, 2))), r"scale of shape \[2, 2\]"),
        (_with_arrays(codes=np.ones(3)), r"codes of shape \[3\]"),
        (_with_arrays(round_trips=np.full(4, np.nan)), "not finite"),
    ],
)
def test_files_of_another_kind_are_bad_input(given, tmp_path, write, message):
    path = tmp_path / "network.safetensors"
    write(path, given[0])
    with pytest.raises(ConfigurationError, match=f"network.file: .*network.safetensors.*{message}"):
        read_latent(case_of(path), given[0].transfer, COMM)


def test_an_autoencoder_in_place_of_its_observation_encoder_is_bad_input(given, file):
    with pytest.raises(
        ConfigurationError, match="network.observations.file: .*holds an autoencoder, expected an observation encoder"
    ):
        read_latent(case_of(file, file), given[0].transfer, COMM)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_analysis_by_a_network_of_half_precision(given, file, tmp_path, dtype):
    background, state = given
    model, about = load(file)
    half = tmp_path / "half.safetensors"
    save(half, model.to(dtype), {key: about[key] for key in ("variables", "grid")}, load_arrays(file))
    save_encoder(tmp_path / "encoder.safetensors", half)
    readings = make_readings(background, state)
    expected = analysed(background, state, readings).analysis.increment
    for encoder, name in ((None, "decoded"), (tmp_path / "encoder.safetensors", "bireduced")):
        latent = read_latent(
            case_of(half, encoder, trust={"margin": 1e3, "cost_ratio": 1e6}), background.transfer, COMM
        )
        found = analysed(with_network(background, latent), state, readings)
        assert found.network.summary()["transform"] == name
        if encoder is None:
            scale = np.abs(expected).max()
            assert np.abs(found.analysis.increment - expected).max() < 0.05 * scale


@pytest.mark.parametrize("by_readings", [False, True])
def test_passes_of_few_bits_where_no_derivative_is_taken(given, file, tmp_path, by_readings):
    """`bireduced` decodes in the precision that the file asks for, `decoded` as its derivatives do."""
    background, _ = given
    model, about = load(file)
    kept = {key: about[key] for key in ("variables", "grid")}
    path, encoder = tmp_path / "few.safetensors", tmp_path / "encoder.safetensors"
    save(path, model.float(), {**kept, "passes": {"precision": "bfloat16"}}, load_arrays(file))
    save_encoder(encoder, path)
    latent = read_latent(case_of(path, encoder if by_readings else None), background.transfer, COMM)
    code = np.random.default_rng(4).standard_normal(latent.decoder.n_latent)
    apart = latent.decoder.apply(code) - latent.decoder.apply(code, keep=True)
    rounding = np.linalg.norm(apart) / np.linalg.norm(latent.decoder.apply(code))
    assert 1e-4 < rounding < 0.02 if by_readings else rounding < 1e-6
    save(path, model.float(), {**kept, "passes": {"precision": "int4"}}, load_arrays(file))
    if by_readings:
        with pytest.raises(ConfigurationError, match="network.file: .*int4"):
            read_latent(case_of(path, encoder), background.transfer, COMM)


def test_more_latent_modes_than_there_are(given, file):
    with pytest.raises(ConfigurationError, match="network.file: .*99"):
        read_latent(case_of(file, truncation=99), given[0].transfer, COMM)


@pytest.mark.parametrize("n", [2, 3])
def test_same_over_ranks(given, file, mpirun, tmp_path, n):
    background, state = given
    network = with_network(background, read_latent(case_of(file), background.transfer, COMM))
    one = analysed(network, state, make_readings(background, state))
    mpirun(n, "tests/plugin/window/parallel_latent.py", file, tmp_path / "found.npz")
    other = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(other["control"], one.analysis.control, rtol=1e-9, atol=1e-10)
    scale = np.abs(one.analysis.increment).max()
    np.testing.assert_allclose(other["increment"], one.analysis.increment, atol=1e-10 * scale)
    checks = [check.value for check in one.network.trust.checks]
    np.testing.assert_allclose(other["checks"], checks, rtol=1e-8, atol=1e-12)
