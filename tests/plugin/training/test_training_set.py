"""What a network learns from: all states in time order on the grid, in spreads of the training part."""

import os

import numpy as np
import pytest
from training_case import COMM, N_STATES, N_VALIDATION, make_case, write_states

from coupling.archive.series import DumpSeries
from coupling.vtk.vtu import read_state
from da.background.scaling import point_scaling, variable_scaling
from plugin.case.configuration import ConfigurationError
from plugin.state.transfer import Transfer, variables_of
from plugin.training.training_set import training_set


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    write_states(folder)
    return folder


def on_grid(data, states):
    """(n, S) states on the grid, read by themselves."""
    paths = [states / ("early", "late")[k % 2] / f"state_{k}.pvtu" for k in range(N_STATES)]
    read = [read_state(path, COMM) for path in paths]
    transfer = Transfer(data.grid, variables_of(["Velocity.y", "Tracer"], read[0]), COMM)
    return np.stack([transfer.to_grid(state) for state in read], axis=1)


@pytest.mark.parametrize("scaling", [point_scaling, variable_scaling])
def test_samples(tmp_path, states, scaling):
    name = scaling.__name__.partition("_")[0]
    data = training_set(make_case(tmp_path, states, network={"scaling": name}), COMM, tmp_path)
    whole = on_grid(data, states)
    training = whole[:, :-N_VALIDATION]
    expected = scaling(training, ["Velocity.y", "Tracer"], COMM, data.grid.fluid_points)
    np.testing.assert_allclose(data.mean, training.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(data.scale, expected.scale, rtol=1e-12)
    assert data.times.tolist() == list(range(N_STATES)) and data.n_validation == N_VALIDATION
    assert data.samples.shape == (N_STATES, 2, 6, 5, 4) and len(data.samples) == N_STATES
    assert data.part.shape == (2, 6, 5, 4) and 0 < data.part.sum() < data.part.size
    for k in (0, 7, N_STATES - 1):
        sample = data.samples[k : k + 1][0]
        assert sample.dtype == np.float32 and not sample[~data.part].any()
        # channels first in the samples, last in a state
        back = data.mean + data.scale * sample.transpose(1, 2, 3, 0).ravel()
        np.testing.assert_allclose(back[data.scale > 0], whole[data.scale > 0, k], rtol=1e-5, atol=1e-5)
    assert data.about["period"] == [0.0, 15.0] and data.about["validation period"] == [16.0, 19.0]
    assert data.about["variables"] == ["Velocity.y", "Tracer"] and data.about["scaling"] == name
    assert data.about["grid"] == {key: list(value) for key, value in data.grid.description.items()}


def test_made_once_for_all_networks_of_a_case(tmp_path, states, monkeypatch):
    first = training_set(make_case(tmp_path, states), COMM, tmp_path / "cache")
    read = []
    monkeypatch.setattr(DumpSeries, "read", lambda *asked, all=DumpSeries.read: read.append(1) or all(*asked))
    told = []
    again = training_set(make_case(tmp_path, states, network={"n_latent": 2}), COMM, tmp_path / "cache", told.append)
    assert len(read) == 1 and not told  # the first state, for its mesh
    np.testing.assert_array_equal(first.samples[0:3], again.samples[0:3])
    for changes in ({"validation": 0.1}, {"network": {"scaling": "variable"}}, {"grid": {"shape": [6, 5, 5]}}):
        read.clear()
        other = training_set(make_case(tmp_path, states, **changes), COMM, tmp_path / "cache", told.append)
        assert len(read) == N_STATES and told.pop() == "  20 of 20 states on the grid"
        assert other.about != first.about


def test_scratch_and_states_of_its_own(tmp_path, states):
    settings = {"scratch": "disk", "snapshots": [{"path": f"{states}/late", "until": 15}]}
    data = training_set(make_case(tmp_path, states, **settings), COMM, tmp_path / "cache")
    assert data.times.tolist() == [1, 3, 5, 7, 9, 11, 13, 15] and data.n_validation == 2
    assert [name[:8] for name in os.listdir(tmp_path / "disk")] == ["samples-"]


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"grid": {"space": "mesh"}}, "lie on a grid; give shape or spacing|needs a grid"),
        ({"snapshots": [{"path": "STATES/early", "until": 2}]}, "2 states, .*at least 2 must be left"),
        ({"snapshots": [{"path": "STATES/early", "from": 90}]}, "no state between 90 and inf s"),
    ],
)
def test_what_gives_no_samples(tmp_path, states, changes, told):
    if "snapshots" in changes:
        changes["snapshots"][0]["path"] = changes["snapshots"][0]["path"].replace("STATES", str(states))
    with pytest.raises(ConfigurationError, match=told):
        training_set(make_case(tmp_path, states, **changes), COMM, tmp_path)


def test_damaged_file(tmp_path, states):
    case = make_case(tmp_path, states)
    training_set(case, COMM, tmp_path)
    next(tmp_path.glob("samples-*.h5")).write_bytes(b"\x89HDF\r\n")
    with pytest.raises(ConfigurationError, match="samples-.*not a whole file of samples"):
        training_set(case, COMM, tmp_path)
