"""Analyses by a network that begins as a linear codec: with its corrections still zero, those of the linear network."""

import numpy as np
import pytest
from assimilation import make_readings
from latent_background import case_of, latent_background, save_encoder, save_network, with_network
from mpi4py import MPI

from models import files, zoo
from plugin.case.configuration import MinimiserSection
from plugin.window.assimilate import assimilate
from plugin.window.background.latent import read_latent
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def given():
    return latent_background(COMM)


@pytest.fixture(scope="module")
def linear(given, tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "linear.safetensors"
    save_network(path, given[0])
    return path


@pytest.fixture(scope="module", params=["PCA-UNet", "PCA-NeXt"])
def codec(request, linear):
    """The same codec as a network of one block, in a file of its own."""
    network, about = files.load(linear)
    name = request.param
    options = {"n_latent": network.n_latent, "blocks": [1, 1, 1], "width": 4}
    made = zoo.make(name, network.channels, network.shape, mask=network.mask, **options).double()
    made.linear.load_bases([network.factors.numpy()])
    path = linear.with_name(f"{name}.safetensors")
    files.save(path, made, {key: about[key] for key in ("variables", "grid")}, files.load_arrays(linear))
    return path


def latent_of(path, given, encoder=None):
    case = case_of(path, encoder)
    case.network.name = files.read_about(path)["name"]
    return read_latent(case, given[0].transfer, COMM)


def analysed(background, state, readings):
    return assimilate(background, state, readings, COMM, MinimiserSection(), ObservationSettings())


def test_decoded_is_that_of_the_linear_network(given, linear, codec):
    background, state = given
    readings = make_readings(background, state)
    found, expected = (
        analysed(with_network(background, latent_of(path, given)), state, readings) for path in (codec, linear)
    )
    assert found.network.summary()["transform"] == "decoded" and found.network.trust.trusted
    scale = np.abs(expected.analysis.increment).max()
    np.testing.assert_allclose(found.analysis.increment, expected.analysis.increment, atol=1e-7 * scale)


def test_bireduced_is_that_of_the_linear_network(given, linear, codec):
    background, state = given
    readings, increments = make_readings(background, state), []
    for path in (codec, linear):
        encoder = path.with_name(f"{path.stem}-encoder.safetensors")
        if not encoder.exists():
            save_encoder(encoder, path)
        found = analysed(with_network(background, latent_of(path, given, encoder)), state, readings)
        assert found.network.summary()["transform"] == "bireduced"
        increments.append(found.analysis.increment)
    assert np.abs(increments[1]).max() > 0.0
    np.testing.assert_allclose(increments[0], increments[1], atol=1e-6 * np.abs(increments[1]).max())
