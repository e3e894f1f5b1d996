"""python -m plugin.experiment: each experiment from an archive's states to its files."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from experiment_case import COMM, N_TRAINING, experiment_case, write_states
from rich.console import Console

from plugin.case.configuration import ConfigurationError, read_case
from plugin.experiment import networks
from plugin.experiment.__main__ import EXPERIMENTS, run
from plugin.experiment.mode_errors import ModeErrors, Truncating
from plugin.experiment.networks import trained_networks
from plugin.experiment.states import ExperimentInputs, read_states
from plugin.run.progress import Progress

NETWORKS = "{folder: networks, names: [Backbone], beside: Backbone, epochs: 2, seeds: 2}"
SPARSE = "{sensors: [5, 20], every: 3, decoded_every: 4}"
LOCALISED = "{noise: [0.0, 0.1], horizontal: [40], vertical: [null], modes: [0], variances: [0.01, 0.1], gap: 2}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    write_states(folder / "states")
    return folder


def case_of(folder, **changed):
    settings = {"networks": NETWORKS, "sparse": SPARSE, "truncations": [1, 4, 99], "parts": [1.0, 0.1]}
    settings |= {"localised": LOCALISED, "blocks": "{numbers: [4, 20], points: [[8, 8, 7]]}", **changed}
    return experiment_case(folder, folder / "states", **settings)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ran(name, folder, **changed):
    """(Result, {table's file: rows}, Markdown) of an experiment whose files are all there."""
    result = run(name, case_of(folder, **changed), Progress(COMM), folder / "out")
    files = {path.name for path in (folder / "out").glob(f"{name}*")}
    tables = {path: rows_of(folder / "out" / path) for path in files if path.endswith(".csv")}
    assert {f"{name}.json", f"{name}.md", f"{name}.png", f"{name}.svg"} <= files and len(tables) == len(result.tables)
    about = json.loads((folder / "out" / f"{name}.json").read_text())
    assert about["protocol"]["background_weight"] == 0.1 and about["states"]["test"] == 6
    text = (folder / "out" / f"{name}.md").read_text()
    assert "background_weight 0.1, variance 0.05" in text and "MAGIC" in text
    return result, tables, text


def test_tables(folder):
    _, tables, text = ran("tables", folder)
    one, two, three, four = (tables[f"tables-{k}.csv"] for k in (1, 2, 3, 4))
    assert [row["system"] for row in four] == [f"blocks of 8 × 8 × 7 points, m = {m}" for m in (4, 20)]
    assert [row["system"] for row in one] == ["Backbone"] and float(one[0]["error_std"]) > 0.0
    assert one[0]["epochs"] == "2" and one[0]["magic_error"] == "0.1665"
    assert [row["system"] for row in two] == ["background", "TSVD, τ = 4", "TSVD, τ = 4", "Backbone"]
    assert float(two[0]["error"]) == 1.0 and two[1]["error_std"] == "" and float(two[2]["error_std"]) > 0.0
    assert [row["magic_error"] for row in three] == ["0.09132", "0.0923"] and "| background |" in text
    for row in two[1:3] + three:
        assert 0.0 < float(row["error"]) < 1.0 and float(row["seconds"]) > 0.0


def test_networks_of_the_folder_are_not_trained_again(folder, monkeypatch):
    ran("steps", folder)
    monkeypatch.setattr(networks, "train", None)
    _, tables, _ = ran("steps", folder)
    assert [row["system"] for row in tables["steps-1.csv"]] == ["TSVD, τ = 4", "TSVD, τ = S", "Backbone"]
    assert [row["step"] for row in tables["steps-2.csv"]] == [str(k) for k in range(24, 30)]
    assert {*tables["steps-2.csv"][0]} == {"step", "time", "TSVD, τ = 4", "TSVD, τ = S", "Backbone"}


def test_a_network_of_other_states_is_refused(folder, tmp_path):
    ran("steps", folder)
    write_states(tmp_path / "states")
    (tmp_path / "states/s_3.pvtu").rename(tmp_path / "states/t_3.pvtu")
    with pytest.raises(ConfigurationError, match="experiment.networks: .*Backbone-2epochs-0.*another states"):
        ran("steps", tmp_path, networks=NETWORKS.replace("networks,", f"{folder}/networks,"))


def test_no_such_network(folder):
    with pytest.raises(ConfigurationError, match="experiment.networks: .*Bakbone.*Backbone"):
        ran("steps", folder, networks="{beside: Bakbone, epochs: 1}")


def test_minutes_become_epochs_on_a_terminal_too(folder, tmp_path):
    write = NETWORKS.replace("epochs: 2, seeds: 2", "minutes: 0.005").replace("networks,", f"{tmp_path}/networks,")
    screen = Console(file=io.StringIO(), force_terminal=True, highlight=False)
    run("steps", case_of(folder, networks=write), Progress(COMM, screen), tmp_path / "out")
    assert [p.name for p in (tmp_path / "networks").iterdir()] == ["Backbone-0.005minutes-0.safetensors"]
    assert (tmp_path / "out/steps.md").read_text() in screen.file.getvalue()


def test_observations(folder):
    _, tables, _ = ran("observations", folder, observations=[0.01, 1.0, 0.1])
    rows = tables["observations.csv"]
    assert [row["part"] for row in rows] == ["0.01", "0.1", "1.0"] * 2 + ["1.0"]
    assert int(rows[0]["count"]) < int(rows[1]["count"]) < int(rows[2]["count"])
    assert float(rows[0]["error"]) > float(rows[2]["error"])


def test_tradeoff(folder):
    rows = ran("tradeoff", folder)[1]["tradeoff.csv"]
    seconds = [float(row["seconds"]) for row in rows]
    assert len(rows) == 5 and seconds == sorted(seconds)


def test_truncation(folder):
    rows = ran("truncation", folder)[1]["truncation-1.csv"]
    assert [row["numbers"] for row in rows] == ["1", "4", "23"]
    errors, least = ([float(row[key]) for row in rows] for key in ("error", "least"))
    assert errors == sorted(errors, reverse=True) and all(
        low <= error for low, error in zip(least, errors, strict=True)
    )


LINEAR = ["TSVD", "sample covariance", "localised"]


def test_sparse(folder):
    tables = ran("sparse", folder)[1]
    rows, chosen = tables["sparse-1.csv"], tables["sparse-2.csv"]
    systems = dict.fromkeys(row["system"] for row in rows)
    assert [*systems] == ["TSVD, τ = 4", "TSVD, τ = S", "decoded", "bireduced", "optimal interpolation", "Voronoi-CNN"]
    assert [row["count"] for row in rows] == ["5", "20"] * 6 and all(float(row["error"]) > 0.0 for row in rows)
    found = {(row["system"], row["count"]): float(row["error"]) for row in rows}
    assert found["optimal interpolation", "20"] < min(1.0, found["optimal interpolation", "5"])
    # two epochs leave a network whose decoder gives next to nothing: its searches may fail
    assert not any(int(row["failed"]) for row in rows if row["system"] != "decoded")
    assert [*dict.fromkeys(row["system"] for row in chosen)] == [*LINEAR, "decoded", "bireduced", "Voronoi-CNN"]
    assert len(chosen) == 6 * 2 * 2 and {row["noise"] for row in chosen} == {"0.0", "0.1"}
    for row in chosen:
        assert (row["variance"] in ("0.01", "0.1")) == (row["system"] in [*LINEAR, "decoded"])
        assert row["states"] == ("6" if row["system"] in LINEAR else "2")


def test_sparse_without_networks_has_linear_analyses_of_all_test_states_alone(folder):
    tables = ran("sparse", folder, networks="{beside: null}", sparse="{sensors: [5, 20]}")[1]
    systems = [[*dict.fromkeys(row["system"] for row in tables[f"sparse-{k}.csv"])] for k in (1, 2)]
    assert systems == [["TSVD, τ = 4", "TSVD, τ = S", "optimal interpolation"], LINEAR]
    assert {row["states"] for k in (1, 2) for row in tables[f"sparse-{k}.csv"]} == {"6"}
    errors = {(row["system"], row["noise"], row["count"]): float(row["error"]) for row in tables["sparse-2.csv"]}
    for name in LINEAR:
        assert errors[name, "0.0", "20"] < min(1.0, errors[name, "0.0", "5"])


def test_the_truncation_and_variance_are_those_of_least_validation_error(folder):
    rows = ran("sparse", folder, networks="{beside: null}", sparse="{sensors: [20]}")[1]["sparse-2.csv"]
    case = case_of(folder)
    states, protocol = read_states(case), case.experiment.protocol
    folds = [ModeErrors(states.of_fold(*fold), protocol) for fold in states.folds(5, 2.0, 40)]
    fewest = min(of.n_modes for of in folds)
    tried = [Truncating(tau, variance) for tau in (1, 4, fewest) for variance in (0.01, 0.1)]
    for noise in (0.0, 0.1):
        draws = [of.errors(20, number % 3, tried, noise) for number, of in enumerate(folds)]
        best = min(tried, key=lambda of: sum(errors[of].mean() for errors in draws))
        (row,) = (row for row in rows if row["system"] == "TSVD" and float(row["noise"]) == noise)
        assert float(row["variance"]) == best.variance
        assert int(row["modes"]) == (best.modes if best.modes < fewest else N_TRAINING - 1)


def test_few_sensors_with_a_codec_of_roots_that_has_options(folder):
    options = "{n_latent: 12, blocks: [2, 1, 1], overlap: 1, square_roots: [Tracer]}"
    changed = {"networks": f"{{folder: codecs, beside: PCA-UNet, epochs: 1, options: {{PCA-UNet: {options}}}}}"}
    changed |= {
        "sparse": "{sensors: [20], every: 3, decoded_every: 3}",
        "localised": LOCALISED.replace("0.0, 0.1", "0.1", 1),
    }
    tables = ran("sparse", folder, **changed)[1]
    for name in ("decoded", "bireduced"):
        errors = [float(row["error"]) for k in (1, 2) for row in tables[f"sparse-{k}.csv"] if row["system"] == name]
        assert len(errors) == 2 and max(errors) < 1.0
    (network,) = trained_networks("PCA-UNet", inputs_of(folder, **changed))
    assert network.model.n_latent == 12 and network.model.linear.blocks.counts == (2, 1, 1) and network.roots
    with torch.no_grad():
        decoded = network.model.decode(-9.0 * torch.ones(1, 12)).numpy()[0]
    zero = inputs_of(folder, **changed).states.zero
    assert np.all(decoded >= zero - 1e-4) and np.any(decoded < zero + 1e-3)  # none below, and some are at it
    changed["networks"] = changed["networks"].replace("12", "14")
    with pytest.raises(ConfigurationError, match="given options"):  # the folder's file has others
        ran("sparse", folder, **changed)


def inputs_of(folder, **changed):
    case = case_of(folder, **changed)
    return ExperimentInputs(case, read_states(case), Progress(COMM))


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        (
            "sparse",
            {"networks": "{beside: PCA-UNet, options: {PCA-UNet: {square_roots: [Salt]}}}"},
            "options.PCA-UNet.square_roots: Salt is not analysed; the variables are Tracer",
        ),
        ("sparse", {"sparse": "{sensors: [99999]}", "networks": "{beside: null}"}, "99999 sensors, only"),
        ("cycled", {}, "experiment.cycled: this section is missing"),
    ],
)
def test_what_does_not_fit_is_told(folder, name, changed, told):
    with pytest.raises(ConfigurationError, match=told):
        ran(name, folder, **changed)


def started(*words):
    command = [sys.executable, "-m", "plugin.experiment", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ})


def test_another_name_is_answered_with_all_that_there_are(folder):
    done = started("table", folder / "case.yml")
    assert done.returncode == 2 and all(name in done.stderr for name in EXPERIMENTS)


def test_command(folder):
    case_of(folder, networks="{names: [], beside: null}")
    done = started("truncation", folder / "case.yml", "--out", folder / "other")
    assert done.returncode == 0 and "| τ | error |" in done.stdout and (folder / "other/truncation.md").is_file()


def test_more_ranks_are_refused(folder, mpirun):
    case_of(folder)
    done = mpirun(2, "-m", "plugin.experiment", "steps", folder / "case.yml", check=False)
    assert done.returncode == 2 and "experiments run on one rank, here are 2" in done.stderr


def test_the_section_is_needed(folder, tmp_path):
    text = (folder / "case.yml").read_text()
    (tmp_path / "case.yml").write_text(text[: text.index("experiment:")])
    with pytest.raises(ConfigurationError, match="experiment: this key is missing"):
        read_case(tmp_path / "case.yml", needed=("experiment",))
