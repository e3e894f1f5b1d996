"""network.name: Linear, whose matrix is made of the states' leading modes."""

import numpy as np
import pytest
from training_case import COMM, N_STATES, N_VALIDATION, make_case, write_states

from models.files import load, load_arrays
from plugin.case.configuration import ConfigurationError
from plugin.train import train_network
from plugin.training.linear import leading_modes

STATES = np.random.default_rng(4).standard_normal((70, 2, 3, 2, 2)).astype(np.float32)


def test_modes_are_the_leading_left_singular_vectors():
    u, _, _ = np.linalg.svd(STATES.reshape(70, -1).T.astype(float), full_matrices=False)
    found = leading_modes(STATES, 5)
    np.testing.assert_allclose(found.T @ found, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(found * u[:, :5], axis=0)), 1.0, atol=1e-5)


def test_states_that_have_fewer_are_refused():
    with pytest.raises(ValueError, match="n_latent = 71, but 70 states have"):
        leading_modes(STATES, 71)
    with pytest.raises(ValueError, match="n_latent = 3, but 70 states have 2 modes"):
        leading_modes(np.stack([STATES[k % 2] for k in range(70)]), 3)


def test_the_command_makes_them_of_the_training_states(tmp_path):
    write_states(tmp_path)
    case = make_case(tmp_path, tmp_path, network={"name": "Linear", "n_latent": 2})
    assert train_network(case, COMM) is None
    model, about = load(tmp_path / "net.safetensors")
    arrays = load_arrays(tmp_path / "net.safetensors")
    assert about["n_latent"] == 2 and arrays["codes"].shape == (2, N_STATES)
    assert len(arrays["round_trips"]) == N_VALIDATION
    # the states are combinations of two patterns about their mean
    assert np.all(arrays["round_trips"] < 1e-4) and model.factors.shape[1] == 2
    more = make_case(tmp_path, tmp_path, network={"name": "Linear", "file": "other.safetensors"})
    with pytest.raises(ConfigurationError, match="network.n_latent: this key is missing; Linear needs"):
        train_network(more, COMM)
