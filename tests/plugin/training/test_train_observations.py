"""python -m plugin.train --observations: from an autoencoder and dumps to an observation encoder that analyses take."""

import os

import numpy as np
import pytest
import torch
import yaml
from cycle_case import WINDOWS, ledger, write_settings
from cycle_case import make_case as make_twin
from training_case import COMM, N_STATES, N_VALIDATION, ROOT, write_case, write_states

from models.files import load, load_arrays
from plugin.case.configuration import ConfigurationError, ModelSection, read_case
from plugin.state.transfer import Transfer, variables_of
from plugin.train import train_network
from plugin.training.observation_encoder import own_sensors, train_observation_encoder
from plugin.training.runs import LAST, training_folder
from plugin.training.training_set import training_set
from plugin.window.background.observation_encoding import file_hash
from plugin.window.background.of_case import plan_of, states_of

READINGS = (
    "time,x,y,z,variable,value,error\n"
    # two windows of the same two sensors, a third one of another, a speed and one in a building
    + "".join(f"{t},60,100,30,Tracer,5,0.5\n{t},100,50,20,Velocity.y,5,2\n" for t in (4, 12))
    + "20,30,40,50,Tracer,5,0.5\n20,30,40,50,Velocity.speed,5,0.5\n20,130,155,10,Tracer,1,1\n"
)


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    write_states(folder)
    return folder


def make_case(folder, states, readings=READINGS, network=None, **training):
    """A case whose autoencoder is trained, unless it is there."""
    observations = {"file": "encoder.safetensors", "training": {"epochs": 3, "batch": 4, "sensors": [2, 9], **training}}
    path = write_case(folder, states, network={"observations": observations, **(network or {})})
    told = yaml.safe_load(path.read_text())
    told["cycle"] = {"window": 8.0, "windows": 3}
    if readings:
        (folder / "readings.csv").write_text(readings)
        told["observations"] = {"file": "readings.csv"}
    path.write_text(yaml.safe_dump(told))
    case = read_case(path, needed=("network",))
    if not case.network.file.exists():
        train_network(case, COMM)
    return case


def encoder_of(case):
    return load(case.network.observations.file, {"name": "small_networks:Small"})


def test_what_comes_out(tmp_path, states):
    case = make_case(tmp_path, states)
    found = train_observation_encoder(case, COMM)
    data = training_set(case, COMM, case.run / "cache")
    encoder, about = encoder_of(case)
    assert about["autoencoder"] == file_hash(case.network.file) and about["states"] == data.about["states"]
    assert (about["sensors"], about["own"], about["epoch"]) == ([2, 9], 0.5, found.epoch)
    assert encoder.spacing == data.grid.spacing and len(about["history"]) == 3
    arrays = load_arrays(case.network.observations.file)
    kept = data.samples[N_STATES - N_VALIDATION : N_STATES]
    np.testing.assert_allclose(arrays["fields"], kept, rtol=1e-3, atol=1e-3)
    autoencoder, _ = load(case.network.file, {"name": "small_networks:Small"})
    with torch.no_grad():
        np.testing.assert_allclose(arrays["codes"], autoencoder.encode(torch.from_numpy(kept)).T, atol=1e-5)
    folder = training_folder(case.network.observations.file)
    assert sorted(os.listdir(folder)) == ["epoch-0003.safetensors", "history.csv", "loss.png"]


def test_own_sensors_read_what_the_cycle_will(tmp_path, states):
    case = make_case(tmp_path, states)
    data = training_set(case, COMM, case.run / "cache")
    one, two = own_sensors(case, data, COMM)
    assert (one.channel.tolist(), two.channel.tolist()) == ([1], [1, 0])
    np.testing.assert_allclose(one.position + data.grid.origin, [[30, 40, 50]])
    np.testing.assert_allclose(two.position + data.grid.origin, [[60, 100, 30], [100, 50, 20]])
    # of a sample as of the state it is of
    plan = plan_of(case.background.snapshots, COMM)
    plan.sort(key=lambda entry: entry[0].times[entry[1]])
    state = next(states_of(case, plan[7:8]))
    transfer = Transfer(data.grid, variables_of(case.variables, state), COMM)
    places = np.concatenate([one.position, two.position]) + data.grid.origin
    at_readings = transfer.at_readings(state, places, np.array(["Tracer", "Tracer", "Velocity.y"]))
    order = np.argsort(at_readings.reading)
    start, column, weight = at_readings.operator.getValuesCSR()
    rows = [(column[a:b], weight[a:b]) for a, b in zip(start[:-1], start[1:], strict=True)]
    x = transfer.to_grid(state)
    mean, scale, value = (np.array([w @ v[c] for c, w in rows])[order] for v in (data.mean, data.scale, x))
    sample = data.samples[7:8].ravel()
    found = np.concatenate([one.reading @ sample, two.reading @ sample])
    np.testing.assert_allclose(found, (value - mean) / scale, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([one.noise, two.noise]), [0.5, 0.5, 2.0] / scale)


def test_windows_of_own_sensors_begin_where_the_model_does(tmp_path, states, fluidity_data):
    rows = "14,60,100,30,Tracer,5,0.5", "20,100,50,20,Velocity.y,5,2", "22,30,40,50,Tracer,5,0.5"
    case = make_case(tmp_path, states, "\n".join(["time,x,y,z,variable,value,error", *rows]))
    start = fluidity_data / "serial/mini_3_checkpoint.flml"  # of 12 s: windows end at 20, 28 … s, and not at 16, 24 …
    case = case.model_copy(update={"model": ModelSection(driver="embedded", start=start)})
    data = training_set(case, COMM, case.run / "cache")
    sets = {tuple(map(tuple, of.position + data.grid.origin)) for of in own_sensors(case, data, COMM)}
    assert sets == {((60.0, 100.0, 30.0), (100.0, 50.0, 20.0)), ((30.0, 40.0, 50.0),)}


def test_without_readings_all_sensors_are_random(tmp_path, states):
    case = make_case(tmp_path, states, readings=None)
    assert own_sensors(case, None, COMM) == ()
    train_observation_encoder(case, COMM)


def test_a_resume_is_the_same_to_the_last_bit(tmp_path, states):
    case = make_case(tmp_path, states, network={}, epochs=3)
    whole = train_observation_encoder(case, COMM)
    expected = encoder_of(case)[0].state_dict()
    found = train_observation_encoder(case, COMM, start=LAST)  # nothing is left to do
    assert found.history == whole.history
    case.network.observations.file.unlink()
    for path in training_folder(case.network.observations.file).iterdir():
        path.unlink()
    longer = make_case(tmp_path, states, epochs=2)
    train_observation_encoder(longer, COMM)
    parts = train_observation_encoder(case, COMM, start=LAST)
    keys = ("epoch", "train", "validation", "error")
    assert [[r[k] for k in keys] for r in parts.history] == [[r[k] for k in keys] for r in whole.history]
    for name, value in encoder_of(case)[0].state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_what_does_not_fit_is_told(tmp_path, states):
    case = make_case(tmp_path, states, epochs=1)
    train_observation_encoder(case, COMM)
    with pytest.raises(ConfigurationError, match="network.observations.file: .* is there already; remove it, or go on"):
        train_observation_encoder(case, COMM)
    with pytest.raises(ConfigurationError, match="another sensors: .2, 9., expected .2, 8."):
        train_observation_encoder(make_case(tmp_path, states, epochs=2, sensors=[2, 8]), COMM, start=LAST)
    with pytest.raises(ConfigurationError, match="network.file: .* another scaling: point, expected variable"):
        other = make_case(tmp_path, states, network={"scaling": "variable"}, epochs=2)
        train_observation_encoder(other, COMM, start=LAST)
    case.network.file.unlink()
    with pytest.raises(ConfigurationError, match="network.file: .*net.safetensors: no such file"):
        train_observation_encoder(case, COMM, start=LAST)


@pytest.mark.parametrize(
    "training, told",
    [
        ({"sensors": [9, 2]}, "sensors: .*the lower limit first"),
        ({"noise": [0.0, 0.2]}, "noise.0: found 0"),
        ({"sensor": [1, 2]}, "sensor: unknown key; did you mean 'sensors'"),
    ],
)
def test_wrong_keys_are_told(tmp_path, training, told):
    with pytest.raises(ConfigurationError, match=f"network.observations.training.{told}"):
        make_case(tmp_path, tmp_path, **training)


def test_commands_from_training_to_a_cycle(mpirun, tmp_path):
    env = {"PYTHONPATH": f"{ROOT}:{ROOT}/tests/support"}
    network = {
        "file": str(tmp_path / "net.safetensors"),
        "name": "small_networks:Small",
        "training": {"epochs": 20, "batch": 4},
        "observations": {"file": str(tmp_path / "encoder.safetensors"), "training": {"epochs": 4, "batch": 4}},
    }
    told = {"background__transform": "bireduced", "network": network}
    # an encoder of four epochs is believed all the same
    believed = {"trust": {"margin": 1e6, "cost_ratio": 1e6}}
    case = write_settings(
        tmp_path / "case.yml", make_twin(tmp_path / "twin"), tmp_path / "run", **told, background__latent=believed
    )
    mpirun(1, "-m", "plugin.train", case, env=env)
    done = mpirun(2, "-m", "plugin.train", case, "--observations", env=env)
    assert done.stdout.count("epoch 4 of 4: loss ") == 1 and "observation encoder: " in done.stdout
    mpirun(2, "-m", "plugin.cycle", case, env=env)
    entries = ledger(tmp_path / "run")
    assert [entry["network"]["transform"] for entry in entries] == ["bireduced"] * WINDOWS
    assert [entry["analysis"]["reason"] for entry in entries] == ["CLOSED_FORM"] * WINDOWS
    assert all(len(entry["network"]["checks"]) == 3 for entry in entries)
