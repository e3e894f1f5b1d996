"""python -m plugin.train: from dumps to a file that analyses take, on any number of ranks; stopped and gone on with."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from matplotlib.image import imread
from training_case import COMM, N_STATES, N_VALIDATION, ROOT, make_case, write_case, write_states

from models.files import load, load_arrays, read_about
from models.training.errors import TrainingError
from models.training.evaluation import codes_and_round_trips
from models.training.recipe import Recipe
from plugin.case.configuration import ConfigurationError
from plugin.case.network import TrainingSection
from plugin.train import main, recipe_of, train_network
from plugin.training.onnx_files import export_network
from plugin.training.runs import LAST, training_folder
from plugin.training.training_set import training_set
from plugin.window.background.observation_encoding import file_hash


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    write_states(folder)
    return folder


def trained(folder, states, start=None, **told):
    return train_network(make_case(folder, states, **told), COMM, start=start)


def test_the_case_file_says_what_a_recipe_does():
    assert recipe_of(TrainingSection()) == Recipe()
    assert recipe_of(TrainingSection(augmentation=None, seed=3)) == Recipe(augmentation=None, seed=3)


@pytest.mark.parametrize(
    "network, training, told",
    [
        ({"file": "net.pt"}, {}, "network.file: .*ends with .safetensors"),
        ({"nlatent": 3}, {}, "network.nlatent: unknown key; did you mean 'n_latent'"),
        ({}, {"epoch": 3}, "network.training.epoch: unknown key; did you mean 'epochs'"),
        ({}, {"validation": 0}, "network.training.validation: found 0"),
        ({}, {"objective": "mse"}, "network.training.objective: found 'mse'"),
        ({}, {"augmentation": {"nois": [0, 1]}}, "augmentation.nois: unknown key; did you mean 'noise'"),
        ({}, {"augmentation": {"share": [0.5, 0.1]}}, "augmentation.share: .*the lower limit first"),
        ({}, {"snapshots": [{"path": "a", "form": 1}]}, "snapshots.0.form: unknown key; did you mean 'from'"),
    ],
)
def test_wrong_keys_are_told(tmp_path, network, training, told):
    with pytest.raises(ConfigurationError, match=told):
        make_case(tmp_path, tmp_path, network=network, **training)


def test_what_comes_out(tmp_path, states, capsys):
    case = make_case(tmp_path, states, keep=2, seed=5)
    found = train_network(case, COMM)
    data = training_set(case, COMM, case.run / "cache")
    model, about = load(
        case.network.file,
        {"name": "small_networks:Small", "variables": ["Velocity.y", "Tracer"], "grid": data.grid.description}
        | {"mask": data.grid.fluid, "seed": 5, "objective": "reconstruction", "period": [0, 15], "scaling": "point"}
        | {"validation period": [16, 19], "states": data.about["states"]},
    )
    assert about["epoch"] == found.epoch and about["loss"] == found.loss and about["history"] == found.history
    assert about["seconds"] > 0.0 and about["hardware"] == found.device and about["training"]["batch"] == 4
    arrays = load_arrays(case.network.file)
    np.testing.assert_array_equal(arrays["mean"], data.mean)
    np.testing.assert_array_equal(arrays["scale"], data.scale)
    np.testing.assert_array_equal(arrays["times"], np.arange(N_STATES))
    samples = torch.from_numpy(data.samples[0:N_STATES])
    with torch.no_grad():
        np.testing.assert_allclose(arrays["codes"], model.encode(samples).T, atol=1e-5)
        apart = (model(samples) - samples)[-N_VALIDATION:].numpy()[:, data.part]
    np.testing.assert_allclose(arrays["round_trips"], np.sqrt((apart**2).mean(axis=1)), rtol=1e-5)
    folder = training_folder(case.network.file)
    assert sorted(os.listdir(folder)) == ["epoch-0002.safetensors", "epoch-0003.safetensors", "history.csv", "loss.png"]
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation"]) for row in rows] == [record["validation"] for record in found.history]
    assert imread(folder / "loss.png").shape == (600, 1050, 4)
    lines = capsys.readouterr().out.splitlines()
    assert sum("epoch 2 of 3: loss " in line for line in lines) == 1
    assert lines[-1] == f"{case.network.file}: epoch {found.epoch}, validation loss {found.loss:.4g}"


def test_more_epochs_are_those_of_a_longer_training(tmp_path, states):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = trained(tmp_path / "whole", states, epochs=4)
    trained(tmp_path / "parts", states, epochs=2)
    for start in (LAST, 2):
        parts = trained(tmp_path / "parts", states, epochs=4, keep=2, start=start)
        keys = ("epoch", "train", "validation", "error")
        assert [[r[k] for k in keys] for r in parts.history] == [[r[k] for k in keys] for r in whole.history]
        one, other = (load(tmp_path / name / "net.safetensors", {"name": "small_networks:Small"})[0] for name in
                      ("whole", "parts"))  # fmt: skip
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_nothing_is_trained_or_overwritten_by_mistake(tmp_path, states):
    with pytest.raises(ConfigurationError, match="net.training holds no epoch to go on from; begin without --resume"):
        trained(tmp_path, states, start=LAST)
    trained(tmp_path, states, epochs=1)
    with pytest.raises(ConfigurationError, match="net.safetensors is there already; remove it, or go on with --resume"):
        trained(tmp_path, states)
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(ConfigurationError, match="net.training holds epoch 1 of a training; remove it, or go on"):
        trained(tmp_path, states)
    with pytest.raises(ConfigurationError, match="holds no epoch 2; kept are: 1"):
        trained(tmp_path, states, start=2)
    with pytest.raises(ConfigurationError, match="another scaling: point, expected variable"):
        trained(tmp_path, states, start=LAST, network={"scaling": "variable"})
    with pytest.raises(ConfigurationError, match="another states: .* expected"):
        trained(
            tmp_path, states, start=LAST, snapshots=[{"path": f"{states}/early"}, {"path": f"{states}/late", "from": 2}]
        )


@pytest.mark.parametrize(
    "network, told",
    [
        ({"name": "Tucodec-Nxt"}, "network: unknown network 'Tucodec-Nxt' .nearest: 'Tucodec-NeXt'"),
        ({"name": "Tucodec-NeXt"}, r"network: grid \(6, 5, 4\) is too small for 5 halvings"),
        ({"width": 3}, "network: unknown option of network 'small_networks:Small' 'width'"),
        ({"decoder_width": [3, 4, 5, 6]}, "network: unknown option of network .* 'decoder_width'"),
    ],
)
def test_networks_that_cannot_be_made(tmp_path, states, network, told):
    with pytest.raises(ConfigurationError, match=told):
        trained(tmp_path, states, network=network)


def test_variational(tmp_path, states):
    trained(tmp_path, states, objective="vae", beta=0.1, epochs=1)
    model, about = load(tmp_path / "net.safetensors", {"name": "small_networks:Small", "objective": "vae"})
    assert model.variance is not None and about["training"]["beta"] == 0.1


def test_a_network_for_other_programs(tmp_path, states, capsys):
    case = make_case(tmp_path, states, epochs=1)
    with pytest.raises(ConfigurationError, match="network.file: .*no such file"):
        export_network(case)
    train_network(case, COMM)
    (tmp_path / "net.encode.onnx").write_text("an older one")
    assert main([str(tmp_path / "case.yml"), "--onnx"], COMM) == 0
    paths = [tmp_path / "net.encode.onnx", tmp_path / "net.decode.onnx"]
    assert capsys.readouterr().out.splitlines()[-2:] == [str(path) for path in paths]
    told = json.loads(onnx.load(str(paths[0])).metadata_props[0].value)
    assert told["variables"] == ["Velocity.y", "Tracer"] and told["shape"] == [6, 5, 4]
    with pytest.raises(ConfigurationError, match="--onnx trains nothing"):
        main([str(tmp_path / "case.yml"), "--onnx", "--resume"], COMM)
    fields = torch.from_numpy(training_set(case, COMM, case.run / "cache").samples[0:1])
    code = onnxruntime.InferenceSession(str(paths[0])).run(None, {"fields": fields.numpy()})[0]
    np.testing.assert_allclose(code[0], load_arrays(case.network.file)["codes"][:, 0], atol=1e-5)


def test_adversarial_goes_on(tmp_path, states):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    told = {"objective": "adversarial", "discriminator": 0.1}
    whole = trained(tmp_path / "whole", states, epochs=2, **told)
    trained(tmp_path / "parts", states, epochs=1, **told)
    parts = trained(tmp_path / "parts", states, epochs=2, start=LAST, **told)
    assert [r["train"] for r in parts.history] == [r["train"] for r in whole.history]
    with pytest.raises(ConfigurationError, match="another discriminator"):
        trained(tmp_path / "parts", states, epochs=3, start=LAST, **{**told, "discriminator": 0.2})


def test_distilled(tmp_path, states):
    for name in ("full", "small", "other"):
        (tmp_path / name).mkdir()
    trained(tmp_path / "full", states, epochs=1)
    teacher = str(tmp_path / "full" / "net.safetensors")
    told = {"objective": "distilled", "epochs": 1}
    trained(tmp_path / "small", states, teacher=teacher, **told)
    assert read_about(tmp_path / "small" / "net.safetensors")["teacher"] == file_hash(Path(teacher))
    with pytest.raises(ConfigurationError, match="training.teacher: .*another scaling: point, expected variable"):
        trained(tmp_path / "other", states, teacher=teacher, network={"scaling": "variable"}, **told)
    with pytest.raises(ConfigurationError, match="network.training.teacher: .*no such file"):
        trained(tmp_path / "other", states, teacher=teacher.replace("full", "none"), **told)
    with pytest.raises(ConfigurationError, match="teacher has variables, points and numbers in its latent"):
        trained(tmp_path / "other", states, teacher=teacher, network={"n_latent": 4}, **told)
    for wrong in ({"objective": "distilled"}, {"teacher": teacher}):
        with pytest.raises(ConfigurationError, match="teacher goes with objective: distilled"):
            make_case(tmp_path / "other", states, **wrong)


def test_a_loss_that_is_no_number(tmp_path, states):
    with pytest.raises(TrainingError, match="epoch [123]: the loss is"):
        trained(tmp_path, states, rate=1e30, clip=None)
    assert not (tmp_path / "net.safetensors").exists()


def test_command(mpirun, tmp_path, states):
    env = {"PYTHONPATH": f"{ROOT}:{ROOT}/tests/support"}
    case = make_case(tmp_path, states)
    done = mpirun(2, "-m", "plugin.train", tmp_path / "case.yml", env=env)
    assert done.stdout.count("epoch 3 of 3: loss ") == 1 and "16 states to train with, 4 for validation" in done.stdout
    # what two ranks made of the states is what one makes
    one, found = training_set(case, COMM, tmp_path / "one"), load_arrays(case.network.file)
    two = training_set(case, COMM, case.run / "cache", said=pytest.fail)
    np.testing.assert_allclose(two.samples[0:N_STATES], one.samples[0:N_STATES], atol=1e-6)
    for name in ("mean", "scale"):
        np.testing.assert_allclose(found[name], getattr(one, name), rtol=1e-10)
    network = load(case.network.file, {"name": case.network.name})[0]
    codes, trips = codes_and_round_trips(network, one.samples, COMM, one.part)
    np.testing.assert_allclose(found["codes"], codes, atol=1e-5)
    np.testing.assert_allclose(found["round_trips"], trips[-N_VALIDATION:], rtol=1e-5)
    write_case(tmp_path, states, epochs=4, rate=1e30, clip=None)
    done = mpirun(2, "-m", "plugin.train", tmp_path / "case.yml", "--from", 3, env=env, check=False)
    assert done.returncode == 4 and done.stderr.count("epoch 4: the loss is") == 1
