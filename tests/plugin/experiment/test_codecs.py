"""The experiment of codecs: its linear ones, a trained network, and one that saw test states."""

import csv

import numpy as np
import pytest
from experiment_case import N_TRAINING, SHAPE, write_states
from mpi4py import MPI

from models import files
from models.training.windowed_modes import Windows, windowed_modes
from plugin.case.anamorphosis import VariableSection
from plugin.case.configuration import ConfigurationError, read_case
from plugin.experiment.__main__ import run
from plugin.experiment.states import read_states
from plugin.run.progress import Progress
from plugin.train import train_network
from plugin.training.runs import LAST

COMM = MPI.COMM_SELF
CASE = """
grid: {{shape: {shape}}}
variables: [Tracer]
background: {{snapshots: [{{path: {states}, until: {until}}}]}}
network:
  file: codec-{until}.safetensors
  name: {name}
  n_latent: 6
  blocks: [2, 1, 1]
  overlap: 2
  width: 4
  square_roots: {roots}
  training: {{epochs: {epochs}, batch: 6, folds: 2, gap: 1, average: 0.9, augmentation: null}}
experiment: {{states: [{{path: {states}}}]}}
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    write_states(folder / "states")
    return folder / "states"


def case_of(folder, states, until=N_TRAINING - 1, epochs=2, name="PCA-UNet", roots=()):
    text = CASE.format(
        shape=list(SHAPE), states=states, until=until, epochs=epochs, name=name, roots=f"[{', '.join(roots)}]"
    )
    (folder / "case.yml").write_text(text)
    return read_case(folder / "case.yml", needed=("experiment", "network"))


def test_a_network_is_trained_gone_on_with_and_compared(states, tmp_path):
    case = case_of(tmp_path, states)
    with pytest.raises(ConfigurationError, match="no such file; python -m plugin.train makes it"):
        run("codecs", case, Progress(COMM), tmp_path / "out")
    train_network(case, COMM)
    train_network(case_of(tmp_path, states, epochs=3), COMM, start=LAST)
    network, about = files.load(case.network.file)
    assert about["n_latent"] == 6 and sum(about["options"]["modes"]) == 6 and about["options"]["overlap"] == 2
    assert [record["epoch"] for record in about["history"]] == [1, 2, 3]
    # the codes kept are of the modes kept
    known = read_states(case)
    codes = files.load_arrays(case.network.file, ("codes",))["codes"]
    assert codes.shape == (6, N_TRAINING) and np.isfinite(codes).all()
    run("codecs", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/codecs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    systems = ["TSVD, τ = 6", "2 × 1 × 1 blocks", "2 × 1 × 1 blocks, overlap 2", "PCA-UNet"]
    assert [row["system"] for row in rows] == systems
    errors = [float(row["error"]) for row in rows]
    # components of the whole grid, as numpy has them
    training, test = known.rows[:N_TRAINING], known.rows[N_TRAINING:]
    vectors = np.linalg.svd(training - training.mean(0), full_matrices=False)[2][:6].T
    apart = np.linalg.norm(test - test @ vectors @ vectors.T, axis=1) / np.linalg.norm(test, axis=1)
    assert errors[0] == pytest.approx(apart.mean(), rel=1e-3)
    assert errors[3] == pytest.approx(errors[2], rel=0.2)  # it began there


def test_a_network_that_saw_test_states_is_refused(states, tmp_path):
    case = case_of(tmp_path, states, until=N_TRAINING + 1, epochs=1)
    train_network(case, COMM)
    with pytest.raises(ConfigurationError, match="learnt from states up to 25 s, but test states begin at 24 s"):
        run("codecs", case, Progress(COMM), tmp_path / "out")


def test_square_roots_beside_the_variable_itself(states, tmp_path):
    case = case_of(tmp_path, states, epochs=1, roots=["Tracer"])
    train_network(case, COMM)
    assert files.load(case.network.file)[1]["options"]["roots"] == [0]
    run("codecs", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/codecs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["2 × 1 × 1 blocks", "2 × 1 × 1 blocks, overlap 2"]
    systems = ["TSVD, τ = 6", *(name + suffix for name in names for suffix in ("", ", of roots")), "PCA-UNet"]
    assert [row["system"] for row in rows] == systems
    assert float(rows[-1]["error"]) == pytest.approx(float(rows[-2]["error"]), rel=0.2)  # it began there
    # states that are transformed for all systems: no roots of roots
    transformed = case.background.model_copy(update={"variables": {"Tracer": VariableSection(anamorphosis="sqrt")}})
    run("codecs", case.model_copy(update={"background": transformed}), Progress(COMM), tmp_path / "both")
    with open(tmp_path / "both/codecs.csv", newline="") as file:
        both = list(csv.DictReader(file))
    assert [row["system"] for row in both] == ["TSVD, τ = 6", *names, "PCA-UNet"]
    assert float(both[-1]["error"]) == pytest.approx(float(rows[-1]["error"]), rel=1e-3)
    with pytest.raises(ConfigurationError, match="network.square_roots: Salt is not analysed; the variables are"):
        train_network(case_of(tmp_path, states, until=N_TRAINING - 2, roots=["Salt"]), COMM)
    text = (tmp_path / "case.yml").read_text().replace("augmentation: null", "augmentation: {combine: 1}")
    (tmp_path / "case.yml").write_text(text)
    with pytest.raises(ConfigurationError, match="a combination of states may lie below zero"):
        read_case(tmp_path / "case.yml", needed=("experiment", "network"))


def test_modes_of_windows_are_a_row_beside_their_network(states, tmp_path):
    case_of(tmp_path, states, epochs=1)
    text = (tmp_path / "case.yml").read_text()
    lines = "  blocks: [2, 1, 1]\n  overlap: 2\n"
    assert lines in text
    (tmp_path / "case.yml").write_text(text.replace(lines, "  windows: {points: [4, 4, null], whole: 0.5}\n"))
    case = read_case(tmp_path / "case.yml", needed=("experiment", "network"))
    train_network(case, COMM)
    options = files.load(case.network.file)[1]["options"]
    assert options["windows"] == {"points": [4.0, 4.0, None], "whole": 0.5}
    run("codecs", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/codecs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["TSVD, τ = 6", "windows 4 × 4 × 1", "PCA-UNet"]
    known = read_states(case)
    modes = windowed_modes(np.ascontiguousarray(known.fields[:N_TRAINING]), 6, Windows((4, 4, None), 0.5))
    test = known.rows[N_TRAINING:]
    fields = known.fields[N_TRAINING:].reshape(len(test), -1)
    apart = np.linalg.norm(fields - fields @ modes @ modes.T, axis=1) / np.linalg.norm(test, axis=1)
    assert float(rows[1]["error"]) == pytest.approx(apart.mean(), rel=1e-3)
    (tmp_path / "case.yml").write_text(text.replace(lines, lines + "  windows: {points: [4, 4, null]}\n"))
    with pytest.raises(ConfigurationError, match="windows beside blocks or overlap; give one of them"):
        read_case(tmp_path / "case.yml", needed=("experiment", "network"))
