"""The experiment of error growth: persistence is what it says, choices are validation's, bad lead times are refused."""

import csv

import numpy as np
import pytest
from experiment_case import experiment_case, write_states
from mpi4py import MPI

from models.dynamics.linear import LinearDynamics
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.experiment.states import read_states
from plugin.run.progress import Progress

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("growth")
    write_states(made / "states")
    return made


def case_of(tmp_path, folder, settings):
    return experiment_case(tmp_path, folder / "states", growth=settings)


def test_the_table_has_errors_of_the_test_states_by_lead_time(folder, tmp_path):
    case = case_of(tmp_path, folder, "{leads: [1], modes: [2, 4], ridges: [0.001, 0.1]}")
    known = read_states(case)
    step = known.times[1] - known.times[0]
    assert step == 1.0
    run("growth", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out" / "growth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["system"], float(row["lead"])) for row in rows] == [
        (name, lead) for name in ("persistence", "linear", "linear, the rest kept") for lead in (1.0,)
    ]
    starts = np.arange(known.n_training, len(known.rows) - 1)
    for row, k in zip(rows[:1], (1,), strict=True):
        truth, stays = known.rows[starts + k], known.rows[starts]
        error = np.linalg.norm(stays - truth, axis=1) / np.linalg.norm(truth, axis=1)
        assert float(row["error"]) == pytest.approx(error.mean(), rel=1e-5)
    assert {row["modes"] for row in rows[1:]} <= {"2", "4"}
    assert all(np.isfinite(float(row["error"])) for row in rows)


def table(tmp_path, folder, settings):
    run("growth", case_of(tmp_path, folder, settings), Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out" / "growth.csv", newline="") as file:
        return {row["system"]: row for row in csv.DictReader(file)}


def test_all_of_the_rest_kept_with_no_model_at_all_is_persistence(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(LinearDynamics, "step", lambda self, codes: codes)
    rows = table(tmp_path, folder, "{leads: [1], modes: [3], ridges: [0.1], rests: [1.0]}")
    kept, stays, alone = (float(rows[name]["error"]) for name in ("linear, the rest kept", "persistence", "linear"))
    assert kept == pytest.approx(stays, rel=1e-6) and abs(alone - stays) > 1e-4


def test_networks_have_rows_with_their_spread_over_seeds(folder, tmp_path):
    settings = "{leads: [1], modes: [2], ridges: [0.1], networks: [residual], network_modes: [3], noise: [0, 0.1]"
    rows = table(tmp_path, folder, f"{settings}, epochs: 2, seeds: 2}}")
    row = rows["residual, the rest kept"]
    assert row["modes"] == "3" and row["noise"] in ("0.0", "0.1") and float(row["error_std"]) >= 0.0
    assert 0.0 < float(row["error"]) < 3.0 and rows["linear"]["noise"] == ""


def test_too_few_states_for_a_memory_are_told(folder, tmp_path):
    with pytest.raises(ConfigurationError, match="experiment.growth: runs of at most .* a roll-out needs 13"):
        table(tmp_path, folder, "{leads: [1], modes: [2], ridges: [0.1], networks: [recurrent], network_modes: [2]}")


@pytest.mark.parametrize(
    ("leads", "text"), [("[1.5]", "multiples of the 1 s"), ("[1000]", "no state has another 1000 s")]
)
def test_lead_times_that_do_not_fit_are_refused(folder, tmp_path, leads, text):
    with pytest.raises(ConfigurationError, match=text):
        run("growth", case_of(tmp_path, folder, f"{{leads: {leads}}}"), Progress(COMM), tmp_path / "out")
