"""Analyses with the prior of a variational network, or with what it tells of the background's own code."""

import numpy as np
import pytest
import torch
from assimilation import make_readings
from latent_background import N_MODES, case_of, latent_background, save_encoder, save_network, with_network
from mpi4py import MPI

from models.files import load, load_arrays, save
from models.zoo.code_variance import CodeVariance
from plugin.case.configuration import ConfigurationError, MinimiserSection
from plugin.case.latent import LatentSection
from plugin.window.assimilate import assimilate
from plugin.window.background.latent import read_latent

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def given():
    return latent_background(COMM)


@pytest.fixture(scope="module")
def plain(given, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "plain.safetensors"
    save_network(path, given[0])
    return path


@pytest.fixture(scope="module")
def file(plain):
    """The linear network with variances that differ from code to code."""
    model, about = load(plain)
    torch.manual_seed(1)
    model.variance = CodeVariance(N_MODES).to(model.mask.dtype)
    with torch.no_grad():
        model.variance.layers[-1].weight.normal_(0.0, 0.5), model.variance.layers[-1].bias.normal_()
    model.architecture["options"]["variational"] = True
    path = plain.with_name("variational.safetensors")
    save(path, model, {key: about[key] for key in ("variables", "grid")}, load_arrays(plain))
    return path


def test_modes_of_the_prior(given, file):
    case = case_of(file, errors="prior", form="paper")
    case.background.inflation = 2.0
    latent = read_latent(case, given[0].transfer, COMM)
    assert np.array_equal(latent.modes.vectors, 2.0 * np.eye(N_MODES))
    transform, code, _ = latent.transform(latent.mean)
    assert transform.modes is latent.modes and np.array_equal(code, latent.decoder.encode(latent.mean))


def test_modes_of_the_background_s_own_code(given, file):
    case = case_of(file, errors="encoder")
    case.background.inflation = 2.0
    latent = read_latent(case, given[0].transfer, COMM)
    background = 0.3 * latent.mean
    transform, code, back = latent.transform(background)
    with torch.no_grad():
        deviation = (0.5 * load(file)[0].variance(torch.as_tensor(code)[None])[0]).exp().numpy()
    np.testing.assert_allclose(transform.modes.vectors, 2.0 * np.diag(deviation), rtol=1e-12)
    np.testing.assert_array_equal(back, latent.decoder.apply(code))
    np.testing.assert_array_equal(transform.apply(np.zeros(N_MODES)), np.zeros(len(background)))
    other = latent.transform(-background)[0]
    assert np.abs(other.modes.vectors - transform.modes.vectors).max() > 1e-3


@pytest.mark.parametrize("errors", ["prior", "encoder"])
def test_same_over_ranks(given, file, errors, mpirun, tmp_path):
    background, state = given
    network = with_network(background, read_latent(case_of(file, errors=errors), background.transfer, COMM))
    one = assimilate(network, state, make_readings(background, state), COMM, MinimiserSection())
    assert one.network.summary()["transform"] == "decoded"
    mpirun(2, "tests/plugin/window/parallel_latent.py", file, tmp_path / "found.npz", errors)
    other = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(other["control"], one.analysis.control, rtol=1e-9, atol=1e-10)
    scale = np.abs(one.analysis.increment).max()
    np.testing.assert_allclose(other["increment"], one.analysis.increment, atol=1e-10 * scale)


def test_each_background_has_its_own_minimum_of_encoded_readings(given, file):
    """What is prepared for H and R lasts over the windows; the deviations of a background's code do not."""
    background, state = given
    save_encoder(file.with_name("encoder.safetensors"), file)
    trust = {"margin": 1e3, "cost_ratio": 1e6}
    case = case_of(file, file.with_name("encoder.safetensors"), errors="encoder", trust=trust)
    network = with_network(background, read_latent(case, background.transfer, COMM))
    readings = make_readings(background, state)
    found = [assimilate(network, state, readings, COMM, MinimiserSection()) for _ in range(2)]
    assert all(each.network.summary()["transform"] == "bireduced" for each in found)
    np.testing.assert_array_equal(found[0].analysis.increment, found[1].analysis.increment)


@pytest.mark.parametrize("errors", ["prior", "encoder"])
def test_a_network_without_variances_is_refused(given, plain, errors):
    with pytest.raises(ConfigurationError, match="network.file: .*objective: vae, or give background.latent.errors"):
        read_latent(case_of(plain, errors=errors), given[0].transfer, COMM)


@pytest.mark.parametrize(
    "told, message",
    [
        ({"errors": "prior", "truncation": 3}, "truncation goes with errors: states"),
        ({"errors": "encoder", "form": "paper"}, "give form: centred"),
    ],
)
def test_what_does_not_go_together(told, message):
    with pytest.raises(ValueError, match=message):
        LatentSection(**told)
