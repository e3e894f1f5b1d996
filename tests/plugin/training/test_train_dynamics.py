"""python -m plugin.train --dynamics: runs are those of the series, files come back, bad input is told."""

import numpy as np
import pytest
from training_case import COMM, N_STATES, make_case, write_case, write_states

from models.dynamics.files import load_dynamics
from models.dynamics.linear import linear_dynamics
from models.files import load_arrays
from plugin.case.configuration import ConfigurationError
from plugin.train import main, train_network
from plugin.training.dynamics import runs_of, train_case_dynamics

LINEAR = {"dynamics": {"file": "f.safetensors", "kind": "linear", "ridge": 0.1}}
RESIDUAL = {"dynamics": {"file": "f.safetensors", "epochs": 2, "steps": 1, "hidden": 4, "ridge": 0.1}}


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    write_states(folder)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory, states):
    folder = tmp_path_factory.mktemp("network")
    case = make_case(folder, states)
    train_network(case, COMM)
    return case.network.file


def case_of(folder, states, network, more):
    return make_case(folder, states, network={**more, "file": str(network)})


def test_pairs_are_within_a_series_and_before_the_validation(tmp_path, states, network):
    # the two series take turns: their states are 2 s apart, those of the file 1 s
    train_case_dynamics(case_of(tmp_path, states, network, LINEAR), COMM)
    found, about = load_dynamics(tmp_path / "f.safetensors", {"kind": "linear", "step": 2.0})
    codes = load_arrays(network)["codes"].astype(float)
    early = np.concatenate([np.arange(0, 14, 2), np.arange(1, 14, 2)])
    expected = linear_dynamics(codes[:, early], codes[:, early + 2], 0.1)
    np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-10)
    assert about["training"]["ridge"] == 0.1 and len(about["network"]) == 64


def test_the_command_trains_a_network(tmp_path, states, network, capsys):
    path = write_case(tmp_path, states, network={**RESIDUAL, "file": str(network)}, validation=0.4)
    assert main([str(path), "--dynamics"], COMM) == 0
    dynamics, about = load_dynamics(tmp_path / "f.safetensors", {"kind": "residual", "hidden": 4})
    codes = load_arrays(network)["codes"]
    assert about["n_codes"] == len(codes) and dynamics.step(codes[:, 0]).shape == (len(codes),)
    assert "validation loss" in capsys.readouterr().out


def test_runs_are_cut_where_states_are_missing():
    times, label = np.array([0.0, 1.0, 2.0, 2.5, 4.0, 5.0, 6.0]), np.array([0, 0, 0, 1, 0, 0, 0])
    step, runs = runs_of(times, label)
    assert step == 1.0 and [run.tolist() for run in runs] == [[0, 1, 2], [4, 5, 6], [3]]
    with pytest.raises(ConfigurationError, match="no series has two states"):
        runs_of(np.array([0.0, 1.0]), np.array([0, 1]))


def test_bad_input_is_told(tmp_path, states, network):
    with pytest.raises(ConfigurationError, match="network.dynamics: this section is missing"):
        train_case_dynamics(make_case(tmp_path, states), COMM)
    with pytest.raises(ConfigurationError, match="network.file: .*no such file"):
        train_case_dynamics(case_of(tmp_path, states, tmp_path / "none.safetensors", LINEAR), COMM)
    with pytest.raises(ConfigurationError, match="network.dynamics: runs of at most .* a roll-out needs 13"):
        train_case_dynamics(
            case_of(tmp_path, states, network, {"dynamics": {"file": "f.safetensors", "kind": "recurrent"}}), COMM
        )
    other = [{"path": f"{states}/early"}]
    with pytest.raises(ConfigurationError, match="network.file: .*codes of shape"):
        train_case_dynamics(
            make_case(tmp_path, states, network={**LINEAR, "file": str(network)}, snapshots=other), COMM
        )
    train_case_dynamics(case_of(tmp_path, states, network, LINEAR), COMM)
    with pytest.raises(ConfigurationError, match="network.dynamics.file: .*is there already"):
        train_case_dynamics(case_of(tmp_path, states, network, LINEAR), COMM)
    with pytest.raises(ConfigurationError, match="--dynamics begins anew"):
        main([str(tmp_path / "case.yml"), "--dynamics", "--resume"], COMM)
    assert N_STATES == 20
