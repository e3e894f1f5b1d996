"""The experiment of error growth: persistence is what it says, choices are validation's, bad lead times are refused."""

import csv

import numpy as np
import pytest
from experiment_case import experiment_case, write_states
from mpi4py import MPI

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
        (name, lead) for name in ("persistence", "linear") for lead in (1.0,)
    ]
    starts = np.arange(known.n_training, len(known.rows) - 1)
    for row, k in zip(rows[:1], (1,), strict=True):
        truth, stays = known.rows[starts + k], known.rows[starts]
        error = np.linalg.norm(stays - truth, axis=1) / np.linalg.norm(truth, axis=1)
        assert float(row["error"]) == pytest.approx(error.mean(), rel=1e-5)
    assert {row["modes"] for row in rows[1:]} <= {"2", "4"}
    assert all(np.isfinite(float(row["error"])) for row in rows)


@pytest.mark.parametrize(
    ("leads", "text"), [("[1.5]", "multiples of the 1 s"), ("[1000]", "no state has another 1000 s")]
)
def test_lead_times_that_do_not_fit_are_refused(folder, tmp_path, leads, text):
    with pytest.raises(ConfigurationError, match=text):
        run("growth", case_of(tmp_path, folder, f"{{leads: {leads}}}"), Progress(COMM), tmp_path / "out")
