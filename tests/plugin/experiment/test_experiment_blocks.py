"""Blocks as a codec are the product's transform, and their size is that of the least validation error."""

import csv

import numpy as np
import pytest
from experiment_case import COMM, N_TRAINING, experiment_case, write_states

from da.background.local_modes import CodeLengths, local_modes
from plugin.case.experiment import ProtocolSection
from plugin.experiment.__main__ import run
from plugin.experiment.block_codec import codec_errors, plain_blocks
from plugin.experiment.scores import relative_error
from plugin.experiment.states import read_states
from plugin.experiment.systems import linear, tsvd
from plugin.run.progress import Progress

PROTOCOL = ProtocolSection(gradient_tolerance=1e-12)
NEAR = CodeLengths(1e-3, 1e-3)  # blocks share nothing
COUNTS = [3, 20, 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment_blocks")
    write_states(folder / "states")
    return folder


@pytest.fixture(scope="module")
def states(folder):
    return read_states(experiment_case(folder, folder / "states"))


@pytest.mark.parametrize("points", [(8, 8, 7), (4, 3, 4), (2, 2, 2)])  # the last with fewer points than states
def test_blocks_are_the_product_s_transform_local(states, points):
    blocks, position = plain_blocks(states, points), states.grid.coordinates(np.arange(states.n))
    found = codec_errors(states, points, COUNTS, PROTOCOL)
    for count, of in zip(COUNTS, found, strict=True):
        modes = local_modes(states.training, position, blocks, COMM, count, NEAR, unbiased=False)
        base = modes.vectors / np.linalg.norm(modes.vectors, axis=0)
        analysed = linear("", modes, PROTOCOL).prepare(states.used)
        assert of.numbers == modes.n_modes == count
        for k, number in enumerate(states.test()):
            truth = states.truth(number)
            assert of.codec[k] == pytest.approx(relative_error(base @ (base.T @ truth), truth), rel=1e-6)
            assert of.analysis[k] == pytest.approx(relative_error(analysed(truth[states.used])[0], truth), rel=1e-6)


def test_one_block_is_tsvd_and_more_components_than_there_are_are_all(states):
    found, every = codec_errors(states, None, [4, 999], PROTOCOL), tsvd(states, PROTOCOL, 1.0)
    assert [of.numbers for of in found] == [4, every.n_modes]
    base = every.vectors[:, :4] / every.singular_values[:4]
    truth = states.truth(25)
    assert found[0].codec[1] == pytest.approx(relative_error(base @ (base.T @ truth), truth), rel=1e-6)


def test_validation_has_the_last_tenth_of_the_training_states_and_no_test_state(states):
    of = states.validation()
    assert of.n_training == N_TRAINING - 2 and of.test().tolist() == [22, 23] and len(of.rows) == N_TRAINING
    np.testing.assert_array_equal(of.truth(23), states.truth(23))


def test_tables_of_blocks_and_the_size_of_least_validation_error(folder, states, tmp_path):
    sizes = [(8, 8, 7), (4, 3, 4)]
    blocks = f"{{numbers: {COUNTS}, points: {[list(of) for of in sizes]}}}"
    extra = {"blocks": blocks, "networks": "{names: [], beside: null}", "truncations": [1, 4]}
    case = experiment_case(tmp_path, folder / "states", **extra)
    run("truncation", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/truncation-2.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["numbers"]) for row in rows] == COUNTS
    trials = [codec_errors(states.validation(), points, COUNTS, PROTOCOL) for points in sizes]
    for k, row in enumerate(rows):
        best = sizes[int(np.argmin([of[k].codec.mean() for of in trials]))]
        assert row["points"] == " × ".join(map(str, best))
        expected = codec_errors(states, best, COUNTS, PROTOCOL)[k]
        assert float(row["least"]) == pytest.approx(expected.codec.mean())
        assert float(row["error"]) == pytest.approx(expected.analysis.mean()) and float(row["tsvd"]) > 0.0
    run("tables", case, Progress(COMM), tmp_path / "out")
    text = (tmp_path / "out/tables.md").read_text(encoding="utf-8")
    assert "observed at all values" in text and "| blocks of " in text
